"""The device for what was asked for, given what was found: each way of not having one has a code and a remedy."""

from typing import Any

import pytest

from app.devices.choice import Device, find, has_kernels
from app.devices.found import Computed, Found
from app.errors import DeviceUnusable
from tests.devices.gpus import BROKEN, FOUND


def _find(wanted: str, *, driver: bool = True, found: Found = FOUND, **other: Any) -> Device:
    return find(wanted, lambda index: found.model_copy(update=other), lambda: driver)


def _refusal(wanted: str, *, driver: bool = True, found: Found = FOUND, **other: Any) -> DeviceUnusable:
    with pytest.raises(DeviceUnusable) as caught:
        _find(wanted, driver=driver, found=found, **other)
    assert "FUSEBOX_DEVICE=cpu" in caught.value.remedy
    return caught.value


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_computes_is_used(wanted: str) -> None:
    device = _find(wanted)

    assert device.name == "cuda:0"
    assert device.facts() == {
        "device": "cuda:0",
        "gpu": "NVIDIA L4",
        "uuid": "GPU-1",
        "capability": "8.9",
        "memory_bytes": 24 << 30,
        "driver": "580.95.05",
        "cuda": "13.0",
        "torch": "2.13.0+cu130",
    }


def test_the_second_of_those_that_are_visible_is_counted_among_them() -> None:
    assert _find("cuda:1", count=2, visible="3,5").name == "cuda:1"


def test_the_cpu_is_used_without_a_look_where_it_is_asked_for() -> None:
    def look(index: int) -> Found:
        raise AssertionError

    assert find("cpu", look, lambda: True) == Device("cpu")


@pytest.mark.parametrize(
    ("driver", "found", "why"),
    [
        (False, {}, "no NVIDIA device visible"),
        (True, {"cuda": None, "count": 0}, "built without CUDA"),
        *((True, {"count": 0, "visible": text}, "CUDA_VISIBLE_DEVICES hides") for text in ("", "-1", " ", "-1,0")),
    ],
)
def test_auto_goes_on_with_the_cpu_where_there_is_no_gpu_and_says_why(
    driver: bool, found: dict[str, Any], why: str
) -> None:
    device = _find("auto", driver=driver, gpu=None, **found)

    assert (device.name, device.gpu) == ("cpu", None)
    assert why in device.why
    assert device.facts()["device"] == f"cpu ({device.why})"
    # Who asks for a GPU by name does not get a CPU.
    assert _refusal("cuda", driver=driver, gpu=None, **found).facts["reason"] == "no-gpu"


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        ({"gpu": FOUND.gpu and FOUND.gpu.model_copy(update={"capability": (6, 1)})}, "unsupported-gpu", "6.1"),
        ({"computed": None, "failure": "CUDA error: an illegal memory access"}, "gpu-broken", "illegal memory access"),
        (
            {"gpu": None, "failure": "The NVIDIA driver on your system is too old (found version 11040)."},
            "driver-too-old",
            "580.95.05",
        ),
        ({"computed": Computed(error=3e-4, error_tf32=3e-4, repeatable=True)}, "gpu-wrong", "3.0e-04"),
        ({"computed": Computed(error=float("nan"), error_tf32=0, repeatable=True)}, "gpu-wrong", "nan"),
        ({"count": 0, "gpu": None, "computed": None}, "gpu-broken", "shows none"),
        ({"count": 0, "gpu": None, "visible": "7"}, "no-such-gpu", "CUDA_VISIBLE_DEVICES is '7'"),
    ],
)
def test_a_gpu_that_can_not_be_used_is_refused_whoever_asks(
    wanted: str, found: dict[str, Any], reason: str, words: str
) -> None:
    refusal = _refusal(wanted, **found)

    assert (refusal.code, refusal.facts["reason"]) == ("device-unusable", reason)
    assert refusal.detail.startswith(f"{reason}: ")
    assert words in refusal.detail


def test_an_unsupported_gpu_is_told_with_what_is_supported() -> None:
    assert FOUND.gpu is not None
    # Its kernel error is not what the operator reads: it comes after the capability was compared.
    old = FOUND.gpu.model_copy(update={"capability": (6, 1)})

    refusal = _refusal("auto", gpu=old, computed=None, failure="CUDA error: no kernel image is available")

    assert (refusal.facts["capability"], refusal.facts["supported"]) == ("6.1", list(FOUND.archs))
    assert "sm_75, sm_80" in refusal.detail


def test_a_number_that_no_device_has_is_told_with_how_many_there_are() -> None:
    refusal = _refusal("cuda:3", count=2, gpu=None)

    assert "'cuda:3', and 2 GPUs are visible" in refusal.detail


def test_a_process_that_died_while_it_looked_is_a_broken_gpu() -> None:
    assert _refusal("auto", found=BROKEN).facts["reason"] == "gpu-broken"


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_80",), (8, 0), True),
        (("sm_80",), (8, 9), True),
        (("sm_86",), (8, 0), False),
        (("sm_80",), (9, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_90a",), (9, 1), False),
        (("sm_100f",), (10, 3), True),
        (("sm_100",), (12, 0), False),
        (("compute_90",), (12, 0), True),
        (("compute_90",), (8, 9), False),
        (("gfx90a",), (8, 0), False),
        ((), (5, 0), True),
    ],
)
def test_a_build_runs_where_cuda_says_that_it_does(
    archs: tuple[str, ...], capability: tuple[int, int], runs: bool
) -> None:
    assert has_kernels(archs, capability) is runs
