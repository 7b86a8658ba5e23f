"""A report as Markdown (GitHub's), for summaries of pipelines and comments on changes.

Names come from uploads: those of files, paths and classes stand in code spans, all else from a file is escaped, so that
nothing of it becomes a heading, a link, an image, a mention or HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from app.report import Equivalence, Latency, Report, Summary

# A table of more rows is for nobody to read; the JSON report has all.
_ROWS: Final = 100
_LONGEST: Final = 300

_SCOPES: Final = {
    "model": "Both models were run end to end on",
    "blocks": "The outermost class is not known, so each replaced block was run by itself, before and after, on",
}


def report_markdown(report: Report, snippet: str = "") -> str:
    """The document. `snippet` is the program with which a user compares both files."""
    return "\n".join(_lines(report, snippet)) + "\n"


def _lines(report: Report, snippet: str) -> Iterator[str]:
    yield f"# Fused: {_code(report.input.filename)} → {_code(report.output.filename)}"
    yield ""
    yield f"**{headline(report.summary)}** {_recognised(report)}"
    yield ""
    yield verdict(report.equivalence)
    yield ""
    yield from _table(("", "before", "after", "change"), _figures(report))
    yield from _bytes_saved(report.summary)
    if report.equivalence is not None and report.equivalence.scope != "none":
        yield from _evidence(report.equivalence)
    if report.latency is not None:
        yield from _latency(report.latency)
    yield from _changes(report)
    if report.notes:
        yield from ("## Notes", "", *(f"- {_text(note)}" for note in report.notes), "")
    if snippet:
        yield from ("## Compare them yourself", "", *_fenced(snippet), "")
    yield from _files(report)


def headline(summary: Summary) -> str:
    """What was done, in a sentence."""
    if not summary.layers_replaced:
        return "Nothing was replaced."
    left = summary.batch_norms_after
    norms = f"no batch norm is left of {summary.batch_norms_before}" if not left else f"{left:,} batch norms are left"
    refused = f", {summary.layers_refused:,} refused" if summary.layers_refused else ""
    return f"{summary.layers_replaced:,} layers replaced{refused}; {norms}."


def verdict(equivalence: Equivalence | None) -> str:
    """Whether the outputs are the same, in words with the two figures that tell it."""
    if equivalence is None or equivalence.scope == "none":
        return "The model computes what it computed: nothing in it was replaced."
    native = equivalence.native
    moved = f"The outputs moved by {native.relative:.1e} of their size in {native.dtype}"
    noise = f"the original's own rounding there makes {native.noise:.1e}"
    judged = "The fused model computes the same." if equivalence.passed else "**The fused model differs.**"
    return f"{judged} {moved}; {noise}."


def _recognised(report: Report) -> str:
    found = report.input.detected
    named = [part for part in (found.family, found.variant, found.architecture) if part]
    read = f"Read as {_text(', '.join(named))}" if named else f"Class {_code(found.model_class)}"
    classes = f", {found.classes:,} classes" if found.classes is not None else ""
    source = f", from {_code(found.source)}" if found.source else ""
    return f"{read}{classes}, {_text(found.dtype)}{source}."


def _figures(report: Report) -> Iterator[tuple[str, ...]]:
    summary = report.summary
    rows = [
        ("parameters", summary.parameters_before, summary.parameters_after),
        ("convolutions", summary.convolutions_before, summary.convolutions_after),
        ("batch norms", summary.batch_norms_before, summary.batch_norms_after),
        ("operators", summary.operators_before, summary.operators_after),
        ("multiply-adds", summary.multiply_adds_before, summary.multiply_adds_after),
    ]
    for name, had, has in rows:
        if had is not None and has is not None:
            yield name, f"{had:,}", f"{has:,}", _change(had, has)
    yield (
        "file",
        _size(report.input.bytes),
        _size(report.output.bytes),
        _change(report.input.bytes, report.output.bytes),
    )


def _bytes_saved(summary: Summary) -> Iterator[str]:
    yield (
        f"Of the file, {_size(summary.bytes_stripped)} were dropped (optimizer, copies of the model and the like) and "
        f"{_size(summary.bytes_saved_by_fusing)} saved by fusing."
    )
    yield ""


def _evidence(equivalence: Equivalence) -> Iterator[str]:
    stored, native = equivalence.stored, equivalence.native
    yield "## Why it can be trusted"
    yield ""
    random = f"random inputs (seed {equivalence.probe.seed})"
    given = "inputs of yours" if equivalence.probe.source == "caller" else random
    shapes = ", ".join(_shape(shape) for shape in equivalence.probe.shape)
    where = f"{shapes or 'of each block'}, on {_code(equivalence.probe.device)}"
    yield f"{_SCOPES[equivalence.scope]} {given}, {where}."
    yield ""
    rows = [
        ("the algebra, in float64", f"{equivalence.identity.relative:.1e}", ""),
        ("the written weights, in float64", f"{stored.relative:.1e}", f"{stored.noise:.1e}"),
        (f"what a loader runs, in {native.dtype}", f"{native.relative:.1e}", f"{native.noise:.1e}"),
    ]
    yield from _table(("", "error", "the original's own noise"), rows)
    if equivalence.witness:
        yield from (f"Run by {_text(equivalence.witness)} as well.", "")


def _latency(latency: Latency) -> Iterator[str]:
    yield from ("## How long a run takes", "", _text(latency.sentence), "")
    rows = (
        (
            f"{row.batch}",
            ", ".join(_shape(shape) for shape in row.shape),
            f"{row.before_ms:.3g} ms",
            f"{row.after_ms:.3g} ms",
            f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})",
        )
        for row in latency.rows
    )
    yield from _table(("batch", "inputs", "before", "after", "before / after (quartiles)"), rows)
    yield (
        f"Medians of {latency.repeats} turns after {latency.warmup} that do not count, in {_text(latency.dtype)} by "
        f"{_text(latency.runtime)} on {_code(latency.device)} with {latency.threads} threads."
    )
    yield ""


def _changes(report: Report) -> Iterator[str]:
    replaced = (
        (
            _code(one.path),
            _text(one.read_as) + (" (assumed)" if one.assumed else ""),
            f"{len(one.before)} to {_code(one.after)}",
            f"{one.error.native:.1e}" if one.error else "",
        )
        for one in report.replaced
    )
    yield from _section("Replaced", len(report.replaced), ("layer", "read as", "operators", "error"), replaced)
    refused = ((_code(one.path), _text(one.reason), _code(one.code)) for one in report.refused)
    yield from _section("Refused", len(report.refused), ("layer", "reason", "code"), refused)
    removed = ((_code(one.path), _text(one.reason), _size(one.bytes)) for one in report.removed)
    yield from _section("Removed", len(report.removed), ("what", "reason", "size"), removed)


def _files(report: Report) -> Iterator[str]:
    yield "## Files"
    yield ""
    rows = (
        (_code(file.filename), _text(file.format), f"{file.bytes:,}", _code(file.sha256))
        for file in (report.input, report.output)
    )
    yield from _table(("file", "format", "bytes", "SHA-256"), rows)
    made = report.environment
    libraries = f"torch {_text(made.torch)}, Python {_text(made.python)}"
    yield f"Fusebox {_text(made.fusebox)}, {libraries}, {_code(made.device)}."


def _section(title: str, count: int, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    if not count:
        return
    yield f"## {title} ({count:,})"
    yield ""
    yield from _table(header, (row for _, row in zip(range(_ROWS), rows, strict=False)))
    if count > _ROWS:
        yield from (f"And {count - _ROWS:,} more, which the JSON report has.", "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _fenced(program: str) -> Iterator[str]:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", program)), default=0))
    yield from (f"{fence}python", *program.rstrip().splitlines(), fence)


def _one_line(given: str) -> str:
    line = "".join(one if one.isprintable() else " " for one in given)
    line = re.sub(r"\s+", " ", line).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _code(given: str) -> str:
    """A code span, also of what holds backticks; a pipe would end a cell of a table even there."""
    line = _one_line(given).replace("|", "\\|")
    if not line:
        return "(none)"
    runs = [len(run) for run in re.findall(r"`+", line)]
    ticks = "`" * (1 + max(runs, default=0))
    padding = " " if runs else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def _text(given: str) -> str:
    """Plain words. Addresses do not become links, nor names with an @ mentions, nor a dash an item of a list."""
    escaped = re.sub(r"([\\`*_<>\[\]|#~!&$])", r"\\\1", _one_line(given))
    escaped = re.sub(r"^([-+=])|^(\d+)([.)])", lambda one: f"{one[2] or ''}\\{one[1] or one[3]}", escaped)
    return escaped.replace("://", "\\://").replace("www.", "www\\.").replace("@", "@\u200b")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _size(size: int) -> str:
    if abs(size) < 1000:
        return f"{size} bytes"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if abs(amount) < 1000 or unit == "GB":
            break
    return f"{amount:.3g} {unit}"


def _change(before: int, after: int) -> str:
    if before == after:
        return "="
    return f"{(after - before) / before:+.1%}" if before else f"{after - before:+,}"
