"""The look at the GPU, by a process of its own, on a machine that may have none."""

import os

import pytest
import torch

from app.devices.choice import LARGEST_ERROR
from app.devices.environment import environment
from app.devices.looking import look
from app.devices.probe import compute


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1c2d3e4f")

    found = look(0)

    assert (found.torch, found.cuda, found.count, found.gpu) == (torch.__version__, None, 0, None)
    assert found.visible == "MIG-1c2d3e4f"


def test_a_process_that_can_not_look_is_told_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    monkeypatch.setattr("app.devices.looking._SECONDS", 0.01)

    found = look(0)

    assert found.failure is not None
    assert "no answer" in found.failure


def test_the_small_convolution_is_right_and_the_same_each_time() -> None:
    found = compute("cpu")

    assert 0 < found.error < LARGEST_ERROR
    assert found.repeatable


def test_what_computes_sees_which_gpus_it_may_use_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1c2d3e4f")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("FUSEBOX_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    seen = environment(2)

    assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"]) == ("MIG-1c2d3e4f", "PCI_BUS_ID")
    assert (seen["CUBLAS_WORKSPACE_CONFIG"], seen["CUDA_CACHE_DISABLE"]) == (":4096:8", "1")
    assert "secret" not in str(seen)
    # An empty list hides every GPU, which is not the same as no list.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment(2)["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "CUDA_VISIBLE_DEVICES" not in environment(2)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") is None
