"""A GPU in the process that computes on it: made ready there, and what its errors mean."""

from collections.abc import Iterable, Iterator

import torch

from app.devices.found import Fault

# Texts of cudaGetErrorString and of cuBLAS and cuDNN for errors after which the process can compute nothing more.
_FAULTS: dict[str, Fault] = {
    "device-side assert triggered": "assert",
    "an illegal memory access was encountered": "illegal-address",
    "misaligned address": "illegal-address",
    "invalid program counter": "illegal-address",
    "an illegal instruction was encountered": "illegal-address",
    "unspecified launch failure": "launch-failed",
    "hardware stack error": "launch-failed",
    "the launch timed out and was terminated": "launch-timeout",
    "uncorrectable ECC error": "ecc",
    "uncorrectable NVLink error": "ecc",
    "busy or unavailable": "unavailable",
    "no CUDA-capable device is detected": "unavailable",
    "initialization error": "unavailable",
    "system not yet initialized": "unavailable",
    "CUDA error: unknown error": "other",
    "CUBLAS_STATUS_NOT_INITIALIZED": "other",
    "CUBLAS_STATUS_EXECUTION_FAILED": "other",
    "CUBLAS_STATUS_INTERNAL_ERROR": "other",
    "CUDNN_STATUS_NOT_INITIALIZED": "other",
    "CUDNN_STATUS_EXECUTION_FAILED": "other",
    "CUDNN_STATUS_INTERNAL_ERROR": "other",
}
_SHORTAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


class NotReady(Exception):
    """A GPU that was found when the worker started can't be used now."""


def make_ready(device: str, memory: int) -> None:
    """Start CUDA here, on this device, with no more of its memory than so many bytes. Raises NotReady."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch does not annotate it
        torch.cuda.set_device(device)
        total = torch.cuda.get_device_properties(device).total_memory
        torch.empty(1, device=device)
        torch.cuda.empty_cache()  # else a small job would live on what was taken for that one number
        if memory:
            torch.cuda.set_per_process_memory_fraction(min(memory / total, 1.0), device)
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        # AssertionError: a torch that is built without CUDA.
        raise NotReady(f"{device}: {' '.join(str(error).split())[:300]}") from error


def fail_of_assert(device: str) -> None:
    """Have a kernel find an assertion broken: the error stays with the process until it ends."""
    torch._assert_async(torch.zeros(1, device=device))
    torch.cuda.synchronize(device)


def fault_of(error: BaseException) -> Fault | None:
    """What the GPU failed of; None if it was something else."""
    return next((fault for one in _chain(error) if (fault := _fault(one)) is not None), None)


def is_shortage(error: BaseException) -> bool:
    """Whether the GPU's memory, or the part of it that a job may have, was not enough."""
    return any(isinstance(one, torch.OutOfMemoryError) or _says(one, _SHORTAGES) for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised for: the engine tells some as errors of its own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fault(error: BaseException) -> Fault | None:
    if isinstance(error, NotReady):
        return "unavailable"
    return next((fault for text, fault in _FAULTS.items() if _says(error, (text,))), None)


def _says(error: BaseException, texts: Iterable[str]) -> bool:
    # torch.AcceleratorError is one; cuBLAS and cuDNN have no class of their own.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
