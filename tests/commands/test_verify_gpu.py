"""`fusebox verify-gpu` on a machine without a GPU, and on one whose GPU is its CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.commands.verify_gpu import items, verify_gpu
from app.devices import choice
from app.devices.found import Computed, Found
from app.sandbox.supervisor import Forge
from app.settings import Settings
from tests.devices.gpus import FOUND
from tests.sandbox.asking import MODE

_ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_without_a_gpu_it_says_what_could_not_be_tried() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    ended = subprocess.run(
        [sys.executable, "-m", "app", "verify-gpu"],
        cwd=_ROOT,
        env=plain | {"FUSEBOX_SANDBOX": MODE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 2, ended.stdout + ended.stderr
    *lines, summary = ended.stdout.splitlines()
    assert summary == "3 pass, 0 FAIL, 9 not tried"
    assert all("no NVIDIA device visible" in line for line in lines if line.startswith("not tried"))
    (fused,) = [line for line in lines if "a confined child fuses on the CPU" in line]
    assert "identity " in fused


def _tried(monkeypatch: pytest.MonkeyPatch, found: Found) -> tuple[int, dict[str, str]]:
    monkeypatch.setattr(choice, "_DRIVER", "/dev/null")
    monkeypatch.setattr(items, "look", lambda _: _visible(found))
    monkeypatch.setattr(Forge.__init__, "__defaults__", ("tests.e2e.gpu_double", "jobs"))
    said: list[str] = []
    code = verify_gpu(Settings(sandbox=MODE, torch_threads=1), None, said.append)
    return code, {line[11:55].strip(): line[:9].strip() for line in said[:-1]}


def _visible(found: Found) -> Found:
    """What the variable leaves of it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return found.model_copy(update={"count": 0, "gpu": None, "visible": ""}) if hidden else found


def test_on_a_gpu_that_does_all_of_it_everything_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    code, results = _tried(monkeypatch, FOUND)

    assert set(results.values()) == {"pass"}, results
    assert (code, len(results)) == (0, 12)


def test_what_a_gpu_does_wrongly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # TF32 could not have been seen, and the bits differ.
    odd = Computed(error=2e-7, error_tf32=2e-7, repeatable=False)

    code, results = _tried(monkeypatch, FOUND.model_copy(update={"computed": odd}))

    assert code == 1
    assert [name for name, result in results.items() if result == "FAIL"] == [
        "float32 is float32: TF32 is off",
        "the same convolution twice",
    ]


def test_a_gpu_that_is_refused_fails_and_nothing_is_tried_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code, results = _tried(monkeypatch, FOUND.model_copy(update={"archs": ("sm_90",)}))

    assert (code, results["a GPU that this torch supports"]) == (1, "FAIL")
    assert list(results.values()).count("not tried") == 8
