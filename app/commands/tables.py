"""A report or an inspection on a terminal: tables, and the layers as a tree. The same look as the client's."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Branch

from app.report import Inspection, Layer, Report

_ROWS = 25
_FATES = {"replaced": "green", "fused": "green", "refused": "yellow", "removed": "red"}


def report_view(report: Report, everything: bool = False) -> RenderableType:
    """Figures, what was replaced and refused (the first rows of each, or all), times and notes."""
    rows = None if everything else _ROWS
    parts: list[RenderableType] = [_summary(report)]
    if report.latency is not None:
        parts += [_latency(report), _text(report.latency.sentence)]
    if report.replaced:
        parts.append(_replaced(report, rows))
    if report.refused:
        parts.append(_refused(report, rows))
    return Group(*parts, *(_text(f"note: {note}") for note in report.notes))


def inspection_view(inspection: Inspection) -> RenderableType:
    """What is in a file, and as what it is read."""
    found, given = inspection.input.detected, inspection.input
    table = Table("", "", show_header=False, title=_text(given.filename, "bold"), title_justify="left")
    facts = {
        "format": given.format,
        "bytes": f"{given.bytes:,}",
        "family": found.family or "not known",
        "class": found.model_class,
        "found under": found.source,
        "classes": None if found.classes is None else f"{found.classes:,}",
        "dtype": found.dtype,
        "parameters": f"{found.parameters:,}",
        "convolutions": f"{found.convolutions:,}",
        "batch norms": f"{found.batch_norms:,}",
        "unsafe names": ", ".join(inspection.unsafe_globals),
    }
    for name, fact in facts.items():
        if fact:
            table.add_row(name, _text(fact))
    classes = Table("class", "read as", "count", title="read as", title_justify="left")
    for one in inspection.read_as[:_ROWS]:
        classes.add_row(
            _text(one.class_path), _text(one.read_as + (" (assumed)" if one.assumed else "")), str(one.count)
        )
    shown = [classes] if inspection.read_as else []
    return Group(table, *shown, *(_text(f"note: {note}") for note in inspection.notes))


def tree_view(report: Report) -> RenderableType:
    """The layers before and after; the colour is what became of each."""
    if report.tree is None:
        return _text("The report lists no layers.")
    return Group(_branches(report.tree.before, "before"), _branches(report.tree.after, "after"))


def plain(text: str) -> str:
    """Names come from files: what is no character for a screen is shown as Python writes it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _branches(layers: Sequence[Layer], title: str) -> Branch:
    root = Branch(_text(title, "bold"))
    found: dict[str, Branch] = {"": root}
    for layer in layers:
        if not layer.path:  # the model itself
            root.label = _text(f"{title}: {layer.text}", "bold")
            continue
        above = next(path for path in _upwards(layer.path) if path in found)
        label = _text(f"{layer.path[len(above) :].lstrip('.')}  {layer.text}", _FATES.get(layer.fate, ""))
        into = f" into {plain(layer.into)}" if layer.into not in (None, layer.path) else ""
        label.append(f"  {layer.fate}{into}" if layer.fate != "kept" else "", "dim")
        found[layer.path] = found[above].add(label)
    return root


def _upwards(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition(".")[0]
        yield path


def _summary(report: Report) -> Table:
    figures, moved = report.summary, report.equivalence
    title = f"{report.input.filename}: {report.input.detected.family or report.input.format}"
    table = Table("", "before", "after", title=_text(title, "bold"), title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("parameters", f"{figures.parameters_before:,}", f"{figures.parameters_after:,}")
    if figures.multiply_adds_before is not None and figures.multiply_adds_after is not None:
        table.add_row("multiply-adds", f"{figures.multiply_adds_before:,}", f"{figures.multiply_adds_after:,}")
    table.add_row("batch norms", f"{figures.batch_norms_before:,}", f"{figures.batch_norms_after:,}")
    table.add_row("convolutions", f"{figures.convolutions_before:,}", f"{figures.convolutions_after:,}")
    table.add_row("file, bytes", f"{report.input.bytes:,}", f"{report.output.bytes:,}")
    table.add_section()
    table.add_row("layers replaced", "", f"{figures.layers_replaced:,}")
    table.add_row("layers refused", "", f"{figures.layers_refused:,}")
    table.add_row("layers removed", "", f"{figures.layers_removed:,}")
    if moved is not None:
        table.add_section()
        table.add_row("identity error", "", f"{moved.identity.relative:.1e}")
        for name, error in (("stored", moved.stored), (moved.native.dtype, moved.native)):
            table.add_row(f"{name} error (noise)", f"({error.noise:.1e})", f"{error.relative:.1e}")
    return table


def _latency(report: Report) -> Table:
    assert report.latency is not None
    title = f"one run, {report.latency.runtime} on {report.latency.device}"
    table = Table("batch", "before", "after", "times as fast", title=_text(title), title_justify="left")
    for row in report.latency.rows:
        table.add_row(str(row.batch), f"{row.before_ms:.2f} ms", f"{row.after_ms:.2f} ms", f"{row.ratio:.2f}")
    return table


def _replaced(report: Report, rows: int | None) -> Table:
    table = Table("path", "read as", "now", "error", title=_title("replaced", len(report.replaced), rows))
    table.title_justify = "left"
    for one in report.replaced[:rows]:
        assumed = " (assumed)" if one.assumed else ""
        error = "" if one.error is None else f"{one.error.native:.1e}"
        table.add_row(_text(one.path), _text(one.read_as + assumed), _text(one.after), error)
    return table


def _refused(report: Report, rows: int | None) -> Table:
    table = Table("path", "reason", title=_title("refused", len(report.refused), rows), title_justify="left")
    for one in report.refused[:rows]:
        table.add_row(_text(one.path), _text(one.reason))
    return table


def _title(what: str, count: int, rows: int | None) -> str:
    return f"{what}: the first {rows} of {count:,}" if rows is not None and count > rows else f"{what}: {count:,}"


def _text(given: str, style: str = "") -> Text:
    """Never markup, never a control character; folded where it is too long, not cut."""
    return Text(plain(given), style=style, overflow="fold")
