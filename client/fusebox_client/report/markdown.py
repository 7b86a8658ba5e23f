"""A report as GitHub-flavoured Markdown: the summary of a CI run."""

import re
from collections.abc import Iterable, Iterator, Sequence

from fusebox_client.problems import Problem
from fusebox_client.report.gates import Gate
from fusebox_client.report.parts import FuseReport
from fusebox_client.report.words import figures, headline, latency_lines, recognised, saved, savings, size, verdict

_ROWS = 20


def report_markdown(report: FuseReport, gates: Sequence[Gate] = (), url: str = "") -> str:
    """Headline, figures, verdict, gates, and the first of what was replaced and refused."""
    return "\n".join(_lines(report, gates, url)) + "\n"


def problem_markdown(problem: Problem, what: str, url: str = "") -> str:
    """Why there is no result."""
    lines = [f"### Fusebox: {_text(what)} was not fused", "", f"**{_text(problem.title)}** (`{problem.code}`)", ""]
    lines += [
        _text(part) + "\n" for part in (problem.detail, problem.remedy and f"What to do: {problem.remedy}") if part
    ]
    return "\n".join(lines + [f"[The job]({url})\n"] * bool(url))


def _lines(report: FuseReport, gates: Sequence[Gate], url: str) -> Iterator[str]:
    yield f"### Fusebox: {_text(report.input.filename)} → {_text(report.output.filename)}"
    yield ""
    yield f"**{headline(report)}.** {_text(recognised(report))}."
    yield ""
    yield from _table(("", "before", "after", "change"), _figure_rows(report))
    yield f"{verdict(report.equivalence)} {savings(report)[:1].upper()}{savings(report)[1:]}."
    yield ""
    for line in latency_lines(report):
        yield f"- {_text(line)}"
    if gates:
        yield from _table(
            ("gate", "", ""), ((g.name, "met" if g.met else "**not met**", _text(g.sentence)) for g in gates)
        )
    if report.replaced:
        shown = report.replaced[:_ROWS]
        rows = ((_code(one.path), _text(one.read_as), _code(one.after), _error(one.error)) for one in shown)
        header = ("path", "read as", "now", "error")
        yield from _details("replaced", len(report.replaced), _table(header, rows))
    if report.refused:
        rows_of_refused = ((_code(one.path), _text(one.reason)) for one in report.refused[:_ROWS])
        yield from _details("refused", len(report.refused), _table(("path", "reason"), rows_of_refused))
    for note in report.notes:
        yield f"- {_text(note)}"
    if url:
        yield ""
        yield f"[The job]({url})"


def _figure_rows(report: FuseReport) -> Iterator[tuple[str, ...]]:
    for name, before, after in figures(report):
        if name == "bytes":
            yield "file", size(before), size(after), saved(before, after)
        else:
            yield name, f"{before:,}", f"{after:,}", saved(before, after)


def _error(error: object) -> str:
    native = getattr(error, "native", None)
    return "" if native is None else f"{native:.2g}"


def _details(what: str, count: int, lines: Iterable[str]) -> Iterator[str]:
    shown = f" (the first {_ROWS} of {count})" if count > _ROWS else f" ({count})"
    yield f"<details><summary>{what}{shown}</summary>"
    yield ""
    yield from lines
    yield "</details>"
    yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _text(given: str) -> str:
    """One line in which nothing from a file can become markup: names come from uploads."""
    line = re.sub(r"\s+", " ", given)
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", line)


def _code(given: str) -> str:
    return "`" + re.sub(r"\s+", " ", given).replace("`", "'").replace("|", "\\|") + "`" if given else ""
