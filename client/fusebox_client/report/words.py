"""A report in words and figures for people: the same lines serve tables, Markdown and plain text."""

from collections.abc import Iterator

from fusebox_client.report.parts import Equivalence, FuseReport


def plain(text: str) -> str:
    """Without what would steer a terminal: names come from uploads."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def size(count: float) -> str:
    """Bytes in the unit that a person would choose."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def saved(before: int, after: int) -> str:
    """`-12.3 %`, or nothing where nothing changed."""
    return f"{(after - before) / before:+.1%}".replace("%", " %") if before and before != after else "±0"


def figures(report: FuseReport) -> Iterator[tuple[str, int, int]]:
    """What is counted, before and after."""
    summary = report.summary
    yield "batch norms", summary.batch_norms_before, summary.batch_norms_after
    yield "convolutions", summary.convolutions_before, summary.convolutions_after
    if summary.operators_before is not None and summary.operators_after is not None:
        yield "operators", summary.operators_before, summary.operators_after
    yield "parameters", summary.parameters_before, summary.parameters_after
    if summary.multiply_adds_before is not None and summary.multiply_adds_after is not None:
        yield "multiply-adds", summary.multiply_adds_before, summary.multiply_adds_after
    yield "bytes", report.input.bytes, report.output.bytes


def headline(report: FuseReport) -> str:
    summary = report.summary
    layers = f"{summary.layers_replaced} layer{'' if summary.layers_replaced == 1 else 's'} replaced"
    if summary.layers_refused:
        layers += f", {summary.layers_refused} refused"
    return f"{layers}, {summary.batch_norms_after} of {summary.batch_norms_before} batch norms left"


def recognised(report: FuseReport) -> str:
    """`YOLOv7 (ema), 80 classes, float16, PyTorch checkpoint`."""
    found = report.input.detected
    name = found.variant or found.family or found.model_class or "model"
    parts = [f"{name} ({found.source})" if found.source else name]
    parts += [f"{found.classes} classes"] if found.classes else []
    return ", ".join([*parts, found.dtype, report.input.format])


def savings(report: FuseReport) -> str:
    """Stripping and fusing are two things, and are told apart."""
    summary = report.summary
    parts = [f"{size(summary.bytes_saved_by_fusing)} saved by fusing"]
    if summary.bytes_stripped:
        parts.append(f"{size(summary.bytes_stripped)} of optimizer, duplicates and the like stripped")
    return ", ".join(parts)


def verdict(equivalence: Equivalence | None) -> str:
    """One sentence on whether the outputs are the same."""
    if equivalence is None:
        return "Equivalence was not measured."
    if equivalence.scope == "none":
        return "Nothing was replaced, so there is nothing to compare."
    where = "end to end" if equivalence.scope == "model" else "block by block"
    native = equivalence.native
    return (
        f"{'Equivalent' if equivalence.passed else 'NOT equivalent'}, measured {where}: in {native.dtype} the outputs "
        f"moved by {native.relative:.2g} of their size; the original's own rounding moves them by {native.noise:.2g}. "
        f"The algebra is exact to {equivalence.identity.relative:.2g}; storing cost {equivalence.stored.relative:.2g}."
    )


def latency_lines(report: FuseReport) -> Iterator[str]:
    """The measured times, where they were asked for, and what they mean."""
    if report.latency is None:
        return
    for row in report.latency.rows:
        times = f"{row.before_ms:.2f} ms before, {row.after_ms:.2f} ms after"
        yield f"batch {row.batch}: {times} ({row.ratio:.2f} times as fast, median of the turns)"
    if report.latency.sentence:
        yield report.latency.sentence
