"""A warm parent on a machine whose GPU fails: convolutions of its children raise what torch raises there.

Started by a Forge as `python -m tests.sandbox.faulty FD ACT`: but for torch's own convolution, all is real.
"""

import os
import sys
from typing import Any, NoReturn

import torch
import torch.nn.functional as F

_ERRORS = {
    "assert": torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
    "ecc": torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    "shortage": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 23 GiB"),
}


def _fail(*_: Any, **__: Any) -> NoReturn:
    raise _ERRORS[sys.argv[2]]


def _tell_numerics(*args: Any, **given: Any) -> torch.Tensor:
    """Write down what holds while a child computes; its directory is where it works."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    held = {
        "tf32": (matmul.allow_tf32, cudnn.allow_tf32),
        "reduced": (matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction),
        "accumulated": matmul.allow_fp16_accumulation,
        "deterministic": (cudnn.deterministic, cudnn.benchmark, torch.are_deterministic_algorithms_enabled()),
        "precision": torch.get_float32_matmul_precision(),
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }
    with open("numerics", "a", encoding="utf-8") as file:
        file.write(f"{held}\n")
    return _convolve(*args, **given)


_convolve = F.conv2d

if __name__ == "__main__":
    F.conv2d = _tell_numerics if sys.argv[2] == "numerics" else _fail
    from app.sandbox import forge  # only now: the engine takes torch's functions when it is loaded

    forge.main()
