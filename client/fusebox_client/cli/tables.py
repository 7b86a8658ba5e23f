"""Reports, jobs and gates as tables on a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree as Branch

from fusebox_client.report.gates import Gate
from fusebox_client.report.parts import FuseReport, Layer
from fusebox_client.report.words import (
    figures,
    headline,
    latency_lines,
    plain,
    recognised,
    saved,
    savings,
    size,
    verdict,
)
from fusebox_client.views import JobView

_ROWS = 25
_TABLE_OF_JOBS = 80  # columns
_COLOURS = {"succeeded": "green", "failed": "red", "canceled": "yellow", "expired": "yellow", "running": "cyan"}
_FATES = {"replaced": "green", "fused": "green", "refused": "yellow", "removed": "red"}


def report_view(report: FuseReport, gates: Sequence[Gate], everything: bool = False) -> RenderableType:
    """Headline, figures, verdict, what was replaced and refused, notes, gates."""
    rows = None if everything else _ROWS
    parts: list[RenderableType] = [
        _text(f"{report.input.filename} → {report.output.filename}", "bold"),
        _text(f"{headline(report)}. {recognised(report)}."),
        _figures(report),
        _text(f"{verdict(report.equivalence)} {savings(report)[:1].upper()}{savings(report)[1:]}."),
        *(_text(line) for line in latency_lines(report)),
    ]
    if report.replaced:
        parts.append(_replaced(report, rows))
    if report.refused:
        parts.append(_refused(report, rows))
    parts += [_text(f"note: {note}") for note in report.notes]
    return Group(*parts, *([gates_view(gates)] if gates else []))


def gates_view(gates: Sequence[Gate]) -> RenderableType:
    table = _table("gate", "", "", title="gates", title_justify="left")
    for gate in gates:
        table.add_row(gate.name, _text("met", "green") if gate.met else _text("NOT MET", "red"), _text(gate.sentence))
    return table


@dataclass(frozen=True, slots=True)
class JobsView:
    """Jobs as a table; below each other where the screen is too narrow for whole ids, which the other commands want."""

    views: Sequence[JobView]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = _table("job", "state", "file", "size", "created")
        table.box, table.pad_edge = None, False  # lines take room
        table.columns[0].no_wrap, table.columns[0].min_width = True, 32
        for view in self.views:
            created = view.created_at.astimezone().strftime("%m-%d %H:%M")
            name, many = _text(view.input.filename), size(view.input.bytes)
            if options.max_width < _TABLE_OF_JOBS:
                yield Text.assemble(view.id, "\n  ", _state(view), "  ", name, f"  {many}  {created}", overflow="fold")
            else:
                table.add_row(view.id, _state(view), name, many, created)
        if options.max_width >= _TABLE_OF_JOBS:
            yield table


def job_view(view: JobView, url: str) -> RenderableType:
    """A job's state in a few lines."""
    lines = [Text.assemble(view.id, "  ", _state(view), "  ", _text(view.input.filename)), _text(url)]
    if view.recognised:
        found = view.recognised
        name = found.variant or found.family or found.model_class
        lines.append(_text(f"recognised {name}, {found.dtype}, {found.parameters:,} parameters, {found.format}"))
    if view.output:
        lines.append(_text(f"{view.output.filename}  {size(view.output.bytes)}"))
    if view.problem:
        lines.append(_text(str(view.problem), "red"))
    return Group(*lines)


def tree_view(layers: Sequence[Layer], title: str) -> RenderableType:
    """The layers of a model by their paths; the colour is what became of each."""
    root = Branch(_text(title, "bold"))
    branches: dict[str, Branch] = {}
    for layer in layers:
        if not layer.path:  # the model itself
            root.label = _text(f"{title}: {layer.text}", "bold")
            continue
        parent = layer.path
        while parent and parent not in branches:
            parent = parent.rpartition(".")[0]
        name = layer.path[len(parent) :].lstrip(".") if parent else layer.path
        label = _text(f"{name}  {layer.text}", _FATES.get(layer.fate, ""))
        label.append(f"  {layer.fate}" if layer.fate != "kept" else "", "dim")
        branches[layer.path] = (branches[parent] if parent else root).add(label)
    return root


def _figures(report: FuseReport) -> Table:
    table = _table("", "before", "after", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, before, after in figures(report):
        if name == "bytes":
            table.add_row("file", size(before), size(after), saved(before, after))
        else:
            table.add_row(name, f"{before:,}", f"{after:,}", saved(before, after))
    return table


def _replaced(report: FuseReport, rows: int | None) -> Table:
    table = _table("path", "read as", "now", "error", title=_title("replaced", report.replaced, rows))
    table.title_justify = "left"
    for one in report.replaced[:rows]:
        assumed = " (assumed)" if one.assumed else ""
        error = "" if one.error is None else f"{one.error.native:.2g}"
        table.add_row(_text(one.path), _text(one.read_as + assumed), _text(one.after), error)
    return table


def _refused(report: FuseReport, rows: int | None) -> Table:
    table = _table("path", "reason", title=_title("refused", report.refused, rows))
    table.title_justify = "left"
    for one in report.refused[:rows]:
        table.add_row(_text(one.path), _text(one.reason))
    return table


def _title(what: str, found: Sequence[object], rows: int | None) -> str:
    more = rows is not None and len(found) > rows
    return f"{what}: the first {rows} of {len(found)}" if more else f"{what}: {len(found)}"


def _state(view: JobView) -> Text:
    return _text(view.stage, _COLOURS.get(view.state, ""))


def _table(*headers: str, title: str | None = None, title_justify: JustifyMethod = "center") -> Table:
    """What is too long for its column goes on in the next line: half a path or a figure is none."""
    columns = (Column(header, overflow="fold") for header in headers)
    return Table(*columns, title=title, title_justify=title_justify)


def _text(given: str, style: str = "") -> Text:
    """Never markup, never a control character; folded where it is too long, not cut."""
    return Text(plain(given), style=style, overflow="fold")
