"""Gates: what a pipeline demands of a report before it goes on."""

from collections.abc import Iterator
from dataclasses import dataclass

from fusebox_client.report.parts import FuseReport


@dataclass(frozen=True, slots=True)
class Demands:
    """What must hold; nothing by default."""

    max_error: float | None = None
    layers: int | None = None
    no_batch_norms: bool = False
    nothing_refused: bool = False
    end_to_end: bool = False
    speedup: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One demand, whether it is met, and the figures."""

    name: str
    met: bool
    sentence: str


def judge(report: FuseReport, demands: Demands) -> tuple[Gate, ...]:
    """Every gate that was demanded, all of them, so that one run tells everything."""
    return tuple(_gates(report, demands))


def _gates(report: FuseReport, demands: Demands) -> Iterator[Gate]:
    summary, equivalence = report.summary, report.equivalence
    if demands.max_error is not None:
        yield _error(report, demands.max_error)
    if demands.layers is not None:
        replaced = summary.layers_replaced
        yield Gate("layers", replaced >= demands.layers, f"{replaced} layers replaced, {demands.layers} demanded")
    if demands.no_batch_norms:
        left = summary.batch_norms_after
        yield Gate("no-batch-norms", left == 0, f"{left} of {summary.batch_norms_before} batch norms left")
    if demands.nothing_refused:
        refused = summary.layers_refused
        yield Gate("nothing-refused", refused == 0, f"{refused} layers refused{_first_refusal(report)}")
    if demands.end_to_end:
        scope = equivalence.scope if equivalence else "none"
        yield Gate("end-to-end", scope == "model", f"equivalence was measured on: {scope}")
    if demands.speedup is not None:
        yield _speedup(report, demands.speedup)


def _error(report: FuseReport, limit: float) -> Gate:
    """The native figure: what the user's loader sees. A figure that is no number meets no limit."""
    if report.equivalence is None:
        return Gate("max-error", False, "equivalence was not measured")
    if report.equivalence.scope == "none":
        return Gate("max-error", True, "nothing was replaced, the outputs are the same")
    found = report.equivalence.native.relative
    return Gate("max-error", found <= limit, f"the outputs moved by {found:.3g}, at most {limit:.3g} demanded")


def _speedup(report: FuseReport, least: float) -> Gate:
    """At every batch size that was measured."""
    if report.latency is None or not report.latency.rows:
        return Gate("speedup", False, "latency was not measured: ask for it with benchmark")
    slowest = min(row.ratio for row in report.latency.rows)
    return Gate("speedup", slowest >= least, f"{slowest:.2f} times as fast, {least:.2f} demanded")


def _first_refusal(report: FuseReport) -> str:
    if not report.refused:
        return ""
    return f", the first is {report.refused[0].path}: {report.refused[0].reason}"
