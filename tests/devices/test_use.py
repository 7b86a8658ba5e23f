"""What the errors of a GPU mean, on the exceptions that torch itself raises for them."""

import pytest
import torch

from app.devices.use import NotReady, fault_of, is_shortage, make_ready
from app.errors import MalformedFile

_TAIL = "\nCUDA kernel errors might be asynchronously reported at some other API call.\nCompile with TORCH_USE_CUDA_DSA"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("CUDA error: device-side assert triggered", "assert"),
        ("CUDA error: an illegal memory access was encountered", "illegal-address"),
        ("CUDA error: unspecified launch failure", "launch-failed"),
        ("CUDA error: the launch timed out and was terminated", "launch-timeout"),
        ("CUDA error: uncorrectable ECC error encountered", "ecc"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "unavailable"),
        ("CUDA error: unknown error", "other"),
    ],
)
def test_an_error_that_stays_with_the_process_is_a_fault_of_the_device(text: str, fault: str) -> None:
    assert fault_of(torch.AcceleratorError(text + _TAIL)) == fault


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: invalid configuration argument" + _TAIL),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 4, 8, 8] to have 3 channels"),
        ValueError("CUDA error: device-side assert triggered"),
    ],
)
def test_what_the_process_survives_is_none(error: Exception) -> None:
    assert fault_of(error) is None


def test_a_library_that_fails_within_is_one() -> None:
    assert fault_of(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")) == "other"


def test_a_fault_is_found_behind_an_error_that_was_made_of_it() -> None:
    def wrapped() -> None:
        try:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        except RuntimeError as error:
            raise MalformedFile("the model does not run") from error

    with pytest.raises(MalformedFile) as caught:
        wrapped()

    assert fault_of(caught.value) == "assert"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory" + _TAIL),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_on_the_device_is_no_fault(error: Exception) -> None:
    assert is_shortage(error)
    assert fault_of(error) is None
    assert not is_shortage(MemoryError())


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_device_that_is_gone_is_told_as_unavailable() -> None:
    with pytest.raises(NotReady, match="cuda:0: ") as caught:
        make_ready("cuda:0", 1 << 30)

    assert fault_of(caught.value) == "unavailable"
