"""Under which of torch's settings a proof computes. What is timed runs under torch's own, as a user's session does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_MATMUL, _CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn

# fp32 is computed as fp32 and sums of halves in fp32, by the same kernels each time.
_WANTED: tuple[tuple[Any, str, bool], ...] = (
    (_MATMUL, "allow_tf32", False),
    (_MATMUL, "allow_fp16_reduced_precision_reduction", False),
    (_MATMUL, "allow_bf16_reduced_precision_reduction", False),
    (_MATMUL, "allow_fp16_accumulation", False),
    (_CUDNN, "allow_tf32", False),
    (_CUDNN, "benchmark", False),
    (_CUDNN, "deterministic", True),
)
_WARN = 1  # an operator without a deterministic kernel runs all the same


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Within it a GPU computes exactly and the same each time, as far as its kernels can; a no-op on a CPU."""
    if device == "cpu":
        yield
        return
    before = [getattr(place, name) for place, name, _ in _WANTED]
    mode, precision = torch.get_deterministic_debug_mode(), torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        for place, name, value in _WANTED:
            setattr(place, name, value)
        torch.set_deterministic_debug_mode(_WARN)
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        for (place, name, _), value in zip(_WANTED, before, strict=True):
            setattr(place, name, value)
        torch.set_float32_matmul_precision(precision)
