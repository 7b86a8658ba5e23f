"""A warm parent on a machine whose GPU is its CPU: torch is told to compute there what it is to compute on `cuda:0`.

Started by a Forge as `python -m tests.e2e.gpu_double FD PURPOSE`. Its GPU fails of convolutions with seven channels.
Started as `python -m tests.e2e.gpu_double worker`, it is a worker that finds such a GPU at its start, and none later.
"""

import sys
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

_to, _empty, _convolve = torch.Tensor.to, torch.empty, F.conv2d


_MEMORY = 16 << 30
_share = [_MEMORY]  # what a process may take of it, the latest word first


def _fail_of_assert(_: torch.Tensor) -> None:
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def _here(value: Any) -> Any:
    return "cpu" if value == "cuda:0" else value


def _to_cpu(tensor: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    return _to(tensor, *map(_here, args), **{name: _here(value) for name, value in given.items()})


def _empty_on_cpu(*args: Any, **given: Any) -> torch.Tensor:
    return _empty(*args, **{name: _here(value) for name, value in given.items()})


def _fail_of_seven(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    if _share[0] < 2 << 20:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
    if x.shape[1] == 7:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    return _convolve(x, *args, **given)


def pretend() -> None:
    torch.Tensor.to, torch.empty, F.conv2d = _to_cpu, _empty_on_cpu, _fail_of_seven
    for name in ("init", "set_device", "synchronize", "empty_cache"):
        setattr(torch.cuda, name, lambda *_: None)
    torch.cuda.get_device_properties = lambda _: SimpleNamespace(total_memory=_MEMORY)
    torch.cuda.set_per_process_memory_fraction = lambda share, _: _share.insert(0, int(share * _MEMORY))
    torch.zeros, torch._assert_async = _empty_on_cpu, _fail_of_assert


def _work() -> None:
    from app.devices import choice
    from app.sandbox import supervisor
    from app.settings import read_settings
    from app.worker import start
    from app.worker.main import run_worker
    from tests.devices.gpus import FOUND

    choice._DRIVER = "/dev/null"
    start.look = lambda _: FOUND
    supervisor.Forge.__init__.__defaults__ = ("tests.e2e.gpu_double", "jobs")
    from app.__main__ import _log

    _log()
    run_worker(read_settings())


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        _work()
    pretend()
    from app.sandbox import forge

    forge.main()
