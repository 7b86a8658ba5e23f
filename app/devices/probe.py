"""A look at one GPU, which starts CUDA in the process that looks: `python -m app.devices.probe INDEX` prints JSON.

A worker has it done by a process of its own, which reads no upload and is gone afterwards.
"""

import os
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from app.devices.found import Computed, Found, Gpu

_DRIVER_VERSION = Path("/proc/driver/nvidia/version")


def main() -> None:
    print(look(int(sys.argv[1])).model_dump_json())


def look(index: int) -> Found:
    """The visible device of this number, and what it computes. Whatever fails is told, not raised."""
    found = Found(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=_driver_version(),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        count=torch.cuda.device_count(),
    )
    if index >= found.count:
        return found
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch does not annotate it
        found = found.model_copy(update={"archs": tuple(torch.cuda.get_arch_list()), "gpu": _gpu(index)})
        return found.model_copy(update={"computed": compute(f"cuda:{index}")})
    except Exception as error:  # torch says in many ways that there is no working CUDA
        return found.model_copy(update={"failure": " ".join(str(error).split())[:500] or type(error).__name__})


def compute(device: str) -> Computed:
    """A convolution large enough for the kernels that are used in earnest; about a millisecond."""
    seeded = torch.Generator().manual_seed(0)
    x = torch.rand((2, 32, 24, 24), generator=seeded, dtype=torch.float64).float()
    weight = torch.rand((64, 32, 3, 3), generator=seeded, dtype=torch.float64).float()
    exact = F.conv2d(x.double(), weight.double())
    first, again = (_convolve(x, weight, device, tf32=False) for _ in range(2))
    return Computed(
        error=_relative(first, exact),
        error_tf32=_relative(_convolve(x, weight, device, tf32=True), exact),
        repeatable=torch.equal(first, again),
    )


def _convolve(x: Tensor, weight: Tensor, device: str, *, tf32: bool) -> Tensor:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        return F.conv2d(x.to(device), weight.to(device)).cpu()


def _relative(result: Tensor, exact: Tensor) -> float:
    return float((result.double() - exact).abs().max() / exact.abs().max())


def _gpu(index: int) -> Gpu:
    found = torch.cuda.get_device_properties(index)
    return Gpu(
        index=index,
        name=found.name,
        uuid=str(found.uuid),
        capability=(found.major, found.minor),
        memory=found.total_memory,
    )


def _driver_version() -> str | None:
    """As the kernel module says it; a container sees it as well."""
    try:
        text = _DRIVER_VERSION.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    matched = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return None if matched is None else matched[1]


if __name__ == "__main__":
    main()
