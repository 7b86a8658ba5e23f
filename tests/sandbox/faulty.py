"""A warm parent on a machine whose GPU fails: convolutions of its children raise what torch raises there.

Started by a Forge as `python -m tests.sandbox.faulty FD ACT`: but for torch's own convolution, all is real. With the
act `numerics` convolutions are right, on a GPU that is the CPU, and write down under which settings they are computed.
"""

import os
import sys
from typing import Any, NoReturn

import torch
import torch.nn.functional as F

from tests.e2e.gpu_double import pretend

_ERRORS = {
    "assert": torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
    "ecc": torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    "shortage": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 23 GiB"),
}


def _fail(*_: Any, **__: Any) -> NoReturn:
    raise _ERRORS[sys.argv[2]]


def _tell_numerics(*args: Any, **given: Any) -> torch.Tensor:
    """Its directory is where a child works."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    tf32, again = matmul.allow_tf32 or cudnn.allow_tf32, cudnn.deterministic and not cudnn.benchmark
    workspace = os.environ["CUBLAS_WORKSPACE_CONFIG"]
    with open("numerics", "a", encoding="utf-8") as file:
        file.write(f"tf32 {tf32}, deterministic {again} {torch.get_deterministic_debug_mode()}, {workspace}\n")
    return _convolve(*args, **given)


_convolve = F.conv2d

if __name__ == "__main__":
    if sys.argv[2] == "numerics":
        pretend()
    F.conv2d = _tell_numerics if sys.argv[2] == "numerics" else _fail
    from app.sandbox import forge  # only now: the engine takes torch's functions when it is loaded

    forge.main()
