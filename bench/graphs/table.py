"""The table: a row a model, a column a tool, and below each row whether Fusebox left the least."""

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from bench.graphs.apart import Failure
from bench.graphs.count import Counts
from bench.graphs.results import Result, RowResult
from bench.graphs.tools import OURS, TOOLS

LEFT: dict[str, Callable[[Counts], int]] = {
    "convolutions": lambda counts: counts.convolutions,
    "batch norms": lambda counts: counts.batch_norms,
    "parameters": lambda counts: counts.parameters,
    "nodes": lambda counts: counts.nodes,
}
IDENTITY_LIMIT = 1e-11


def table(rows: list[RowResult]) -> Table:
    """Eight lines a model; an error is relative, the worst output and channel."""
    built = Table("model", "", "before", *TOOLS, show_lines=False, expand=False)
    for row in rows:
        for line, cells in enumerate(_lines(row)):
            built.add_row(row.name if line == 0 else "", *cells)
        built.add_section()
    return built


def _lines(row: RowResult) -> Iterator[tuple[str, ...]]:
    results = list(row.tools.values())
    for name, left in LEFT.items():
        yield name, f"{left(row.before):,}", *(_left(result, name) for result in results)
    yield "identity", "", *(_error(result, "identity") for result in results)
    yield "stored", "", *(_error(result, "stored") for result in results)
    yield "native", f"{row.noise:.1e}", *(_error(result, "native") for result in results)
    yield "seconds", "", *(_seconds(result) for result in results)
    yield "speed-up", "", *(_speedup(result) for result in results)


def _left(result: Result | Failure, name: str) -> str:
    if isinstance(result, Failure):
        return "-"
    if name == "nodes" and not result.counts.standard:
        return "not standard ONNX"
    return f"{LEFT[name](result.counts):,}"


def _error(result: Result | Failure, name: str) -> str:
    if isinstance(result, Failure):
        return "-"
    error = getattr(result, name)
    return f"{error:.1e}" if isinstance(error, float) else "-"


def _seconds(result: Result | Failure) -> str:
    if isinstance(result, Failure):
        return "-"
    verification = result.run.verification_seconds
    return f"{result.run.seconds:.2f}" + ("" if verification is None else f" + {verification:.2f} to verify")


def _speedup(result: Result | Failure) -> str:
    if isinstance(result, Failure) or result.speedup is None:
        return "-" if isinstance(result, Failure) or result.invalid is None else "INVALID"
    return f"{result.speedup:.2f}x"


def notes(row: RowResult) -> Iterator[str]:
    """Why a cell is empty, and which results are invalid or wrong."""
    for tool, result in row.tools.items():
        if isinstance(result, Failure):
            yield f"{tool}: {result.reason}"
            continue
        if result.invalid is not None:
            yield f"{tool}: INVALID, {result.invalid}"
        for figure in ("identity", "stored", "native"):
            error = getattr(result, figure)
            if isinstance(error, str):
                yield f"{tool}: no {figure} error, {error}"


def verdict(row: RowResult) -> str:
    """Whether Fusebox is lowest or equal on what is left, exact and valid."""
    ours = row.tools[OURS]
    if isinstance(ours, Failure):
        return f"{row.name}: no result of Fusebox"
    parts = []
    for name, left in LEFT.items():
        peers = {tool: left(r.counts) for tool, r in row.tools.items() if _compares(tool, r, name)}
        best = min(peers.values(), default=left(row.before))
        lower = [tool for tool, value in peers.items() if value < left(ours.counts)]
        parts.append(f"{name} {'lowest or equal' if not lower else f'NOT LOWEST ({lower[0]}: {best:,})'}")
    exact = _ours_exact(ours)
    parts.append(f"identity {'below' if exact else 'NOT BELOW'} {IDENTITY_LIMIT:.0e}")
    parts.append("valid" if ours.invalid is None else "INVALID")
    return f"{row.name}: " + ", ".join(parts)


def _compares(tool: str, result: Result | Failure, name: str) -> bool:
    """A peer whose result is invalid sets no mark; nodes compare only between those that write standard ONNX."""
    if tool == OURS or isinstance(result, Failure) or result.invalid is not None:
        return False
    return name != "nodes" or result.counts.standard


def _ours_exact(ours: Result) -> bool:
    """Measured on the float64 copy, else as the report of the float32 file states it."""
    identity = ours.identity if isinstance(ours.identity, float) else ours.run.reported_identity
    return identity is not None and identity < IDENTITY_LIMIT


def print_rows(console: Console, rows: list[RowResult]) -> None:
    console.print(table(rows))
    for row in rows:
        for note in notes(row):
            console.print(f"{row.name}: {note}", highlight=False, markup=False, soft_wrap=True)
    for row in rows:
        console.print(verdict(row), highlight=False, markup=False, soft_wrap=True)
