"""All figures of one row: every tool on the float32 file and on its float64 copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.graphs import measure
from bench.graphs.apart import Failure, apart
from bench.graphs.count import Counts, count
from bench.graphs.models import Row
from bench.graphs.tools import TOOLS, Run
from bench.graphs.widen import widen_file

Array = np.ndarray[Any, Any]
Runner = Callable[[Path, tuple[int, ...]], list[Array]]
TOOL_SECONDS = 900.0
MEASURE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one tool made of one model. An error is infinite where outputs can't match, a reason where it wasn't had."""

    run: Run
    counts: Counts
    invalid: str | None
    identity: float | str
    stored: float | str
    native: float | str
    speedup: float | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    name: str
    before: Counts
    noise: float  # the original's own native error, against itself in float64
    tools: dict[str, Result | Failure]


@dataclass(frozen=True, slots=True)
class _Original:
    """What every result is measured against. Outputs are on the row's probe."""

    row: Row
    source: Path
    wide: Path  # its float64 copy
    double: list[Array]
    native: list[Array]


def measure_row(row: Row, source: Path, folder: Path) -> RowResult | Failure:
    """Results lie in `folder`, named by tool."""
    original = apart(_original, row, source, folder, seconds=MEASURE_SECONDS)
    if isinstance(original, Failure):
        return original
    tools = {name: _measure_tool(name, original, folder) for name in TOOLS}
    timed = {n: _target(folder, n) for n, r in tools.items() if isinstance(r, Result) and r.invalid is None}
    speedups = apart(measure.speedups, source, timed, row.shape, seconds=MEASURE_SECONDS)
    if not isinstance(speedups, Failure):
        for name, speedup in speedups.items():
            result = tools[name]
            assert isinstance(result, Result)
            tools[name] = replace(result, speedup=speedup)
    noise = measure.relative_error(original.native, original.double)
    return RowResult(row.name, count(onnx.load(source)), noise, tools)


def _original(row: Row, source: Path, folder: Path) -> _Original:
    wide = folder / "original.float64.onnx"
    widen_file(source, wide)
    return _Original(row, source, wide, measure.run_double(source, row.probe), measure.run_native(source, row.probe))


def _target(folder: Path, tool: str, wide: str = "") -> Path:
    return folder / f"{tool}{wide}.onnx"


def _measure_tool(tool: str, original: _Original, folder: Path) -> Result | Failure:
    target = _target(folder, tool)
    run = apart(TOOLS[tool], original.source, target, seconds=TOOL_SECONDS)
    if isinstance(run, Failure):
        return run
    counts = count(onnx.load(target))
    checked = apart(measure.check, target, counts.standard, seconds=MEASURE_SECONDS)
    return Result(
        run,
        counts,
        checked.reason if isinstance(checked, Failure) else None,
        _identity(tool, original, folder, counts),
        _error(measure.run_double, target, original.row, original.double),
        _error(measure.run_native, target, original.row, original.native),
    )


def _identity(tool: str, original: _Original, folder: Path, counts: Counts) -> float | str:
    """Of the tool on the float64 copy, where nothing is rounded; it tells only if as much is folded as in float32."""
    target = _target(folder, tool, ".float64")
    run = apart(TOOLS[tool], original.wide, target, seconds=TOOL_SECONDS)
    if isinstance(run, Failure):
        return run.reason
    left = count(onnx.load(target))
    if (left.convolutions, left.batch_norms) != (counts.convolutions, counts.batch_norms):
        return "folds less in float64"
    return _error(measure.run_double, target, original.row, original.double)


def _error(run: Runner, result: Path, row: Row, reference: list[Array]) -> float | str:
    error = apart(_compare, run, result, row, reference, seconds=MEASURE_SECONDS)
    return error.reason if isinstance(error, Failure) else error


def _compare(run: Runner, result: Path, row: Row, reference: list[Array]) -> float:
    return measure.relative_error(run(result, row.probe), reference)
