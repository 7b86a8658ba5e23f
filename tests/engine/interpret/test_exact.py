"""The settings under which a proof computes on a GPU: the flags are torch's own and can be set on any machine."""

import pytest
import torch

from app.engine.interpret.exact import exact

_MATMUL, _CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn


def _state() -> dict[str, object]:
    return {
        "tf32": (_MATMUL.allow_tf32, _CUDNN.allow_tf32, torch.get_float32_matmul_precision()),
        "reduced": (
            *(_MATMUL.allow_fp16_reduced_precision_reduction, _MATMUL.allow_bf16_reduced_precision_reduction),
            _MATMUL.allow_fp16_accumulation,
        ),
        "deterministic": (_CUDNN.deterministic, _CUDNN.benchmark, torch.get_deterministic_debug_mode()),
    }


def test_on_a_gpu_nothing_is_rounded_for_speed_and_every_kernel_gives_the_same_each_time():
    with exact("cuda:0"):
        assert _state() == {
            "tf32": (False, False, "highest"),
            "reduced": (False, False, False),
            "deterministic": (True, False, 1),
        }


def test_what_a_user_had_set_comes_back_also_after_an_error():
    before = _state()
    torch.set_float32_matmul_precision("high")
    try:
        changed = _state()
        with pytest.raises(ZeroDivisionError), exact("cuda:0"):
            raise ZeroDivisionError
        assert _state() == changed != before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert _state() == before


def test_on_a_cpu_nothing_changes():
    before = _state()

    with exact("cpu"):
        assert _state() == before
