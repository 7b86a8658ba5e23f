"""Fusebox and its peers, each by the call that its own README recommends: a file in, a file out, how long it took."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxoptimizer
import onnxruntime
import onnxsim
import onnxslim

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = "fusebox"


@dataclass(frozen=True, slots=True)
class Run:
    """How a tool did: for Fusebox without verification, which peers don't have, and what its report says."""

    seconds: float
    verification_seconds: float | None = None
    reported_identity: float | None = None


def _fusebox(source: Path, target: Path) -> Run:
    """In Fusebox's own environment; the report has the time of each phase."""
    report = target.with_suffix(".json")
    command = [ROOT / ".venv" / "bin" / "python", "-m", "app", "fuse", source, "-o", target, "--report", report]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
    told = json.loads(report.read_text())
    phases = told["timings_seconds"]
    verification = sum(seconds for phase, seconds in phases.items() if phase.startswith("verif"))
    return Run(phases["total"] - verification, verification, told["equivalence"]["identity"]["relative"])


def _onnxslim(source: Path, target: Path) -> None:
    onnxslim.slim(str(source), str(target))


def _onnxsim(source: Path, target: Path) -> None:
    simplified, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(simplified, target)


def _onnxoptimizer(source: Path, target: Path) -> None:
    passes = onnxoptimizer.get_fuse_and_elimination_passes()
    onnx.save(onnxoptimizer.optimize(onnx.load(source), passes, fixed_point=True), target)


def _onnxruntime(source: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _timed(optimise: Callable[[Path, Path], None]) -> Callable[[Path, Path], Run]:
    def run(source: Path, target: Path) -> Run:
        start = time.perf_counter()
        optimise(source, target)
        return Run(time.perf_counter() - start)

    return run


TOOLS: dict[str, Callable[[Path, Path], Run]] = {
    OURS: _fusebox,
    "onnxslim": _timed(_onnxslim),
    "onnxsim": _timed(_onnxsim),
    "onnxoptimizer": _timed(_onnxoptimizer),
    "onnxruntime": _timed(_onnxruntime),
}
