"""A GPU that fails in a child: what the worker hears of it, and that the next child works."""

import ast
from pathlib import Path

import pytest
import torch

import app
from app.options import FuseOptions
from app.sandbox.outcome import DeviceFailed, Outcome, Refused, Succeeded
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Trial
from tests.sandbox.asking import LIMITS, MODE, asked


def _checkpoint(directory: Path) -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    torch.save(layers.eval(), directory / "input")


def _run(forge: Forge, directory: Path, device: str = "cpu") -> Outcome:
    _checkpoint(directory)
    request = asked(directory, device=device, limits=LIMITS.model_copy(update={"device_memory": 1 << 30}))
    return forge.run(request, on_phase=lambda _: None, unwanted=lambda: False, seconds=60)


@pytest.mark.parametrize("fault", ["assert", "ecc"])
def test_a_fault_that_stays_with_its_process_ends_the_child_alone(tmp_path: Path, fault: str) -> None:
    with Forge(1, program="tests.sandbox.faulty", purpose=fault) as forge:
        assert _run(forge, tmp_path) == DeviceFailed(fault)
        parent = forge.pid
        assert _run(forge, tmp_path) == DeviceFailed(fault)

        assert forge.pid == parent


def test_too_little_memory_on_the_device_is_a_problem_with_a_remedy(tmp_path: Path) -> None:
    with Forge(1, program="tests.sandbox.faulty", purpose="shortage") as forge:
        outcome = _run(forge, tmp_path)

    assert isinstance(outcome, Refused)
    assert (outcome.problem.code, outcome.problem.facts["limit"]) == ("out-of-memory", 1 << 30)
    assert "GPU" in outcome.problem.detail
    assert "FUSEBOX_JOB_DEVICE_MEMORY_BYTES" in outcome.problem.remedy


def test_a_child_proves_on_a_gpu_exactly_and_measures_speed_as_its_user_would(tmp_path: Path) -> None:
    _checkpoint(tmp_path)
    request = asked(tmp_path, device="cuda:0", options=FuseOptions(benchmark=True))

    with Forge(1, program="tests.sandbox.faulty", purpose="numerics") as forge:
        outcome = forge.run(request, on_phase=lambda _: None, unwanted=lambda: False, seconds=60)

    assert outcome == Succeeded()
    told = (tmp_path / "work" / "numerics").read_text().splitlines()
    proved, timed = "tf32 False, deterministic True 1, :4096:8", "tf32 True, deterministic False 0, :4096:8"
    assert set(told) == {proved, timed}
    assert told == sorted(told, key=[proved, timed].index), "first all that is proved, then all that is timed"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_device_that_is_not_there_is_a_fault_and_the_next_child_works(forge: Forge, tmp_path: Path) -> None:
    assert _run(forge, tmp_path, "cuda:7") == DeviceFailed("unavailable")
    assert _run(forge, tmp_path) == Succeeded()


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_child_that_is_to_fail_on_the_device_needs_one(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    trial = Trial(
        act="device-assert", directory=str(tmp_path), device="cuda:0", limits=LIMITS, mode=MODE, secrets=(), worker=1
    )

    assert forge.attempt(trial, 60) == DeviceFailed("unavailable")


def test_neither_worker_nor_warm_parent_starts_cuda() -> None:
    """What could start it stands in the files that only children and looks run."""
    root = Path(app.__file__).parent
    those = {str(path.relative_to(root)) for path in root.rglob("*.py") if _uses_cuda(ast.parse(path.read_text()))}

    assert those == {"devices/probe.py", "devices/use.py", "engine/latency/turns.py"}


def _uses_cuda(tree: ast.AST) -> bool:
    return any(
        ast.unparse(node).startswith("torch.cuda.") for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    )
