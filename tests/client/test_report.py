"""The typed report: held to the published schema, read strictly where it counts, told in words."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import pytest

from app import errors
from app.engine import fuse_checkpoint
from app.options import FuseOptions
from fusebox_client import Demands, FuseReport, UnexpectedAnswer, judge, report_markdown
from fusebox_client.options import Options, form_fields
from fusebox_client.problems import Problem, answer_error, job_error, read_problem, request_error
from fusebox_client.report.markdown import problem_markdown

_SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())


@pytest.fixture(scope="module")
def report(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A report that the engine made."""
    found = fuse_checkpoint(small, tmp_path_factory.mktemp("fused") / "out.pt", FuseOptions(), filename="small.pt")
    return dict(json.loads(found.model_dump_json()))


def _members(kind: Any, schema: dict[str, Any], at: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Each object of the schema: its members there, and those of the dataclass that reads it."""
    schema = _SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    hints = get_type_hints(kind)
    yield at, set(schema["properties"]), {one.name for one in fields(kind)}
    for name, member in schema["properties"].items():
        inner = [one for one in (hints.get(name), *get_args(hints.get(name))) if is_dataclass(one)]
        refs = [member, member.get("items", {}), *member.get("anyOf", [])]
        for one in [ref for ref in refs if "$ref" in ref][:1] if inner else []:
            yield from _members(inner[0], one, f"{at}.{name}")


def test_every_member_of_the_published_schema_is_typed_here() -> None:
    compared = 0
    for at, published, typed in _members(FuseReport, _SCHEMA, "report"):
        assert published <= typed, f"{at} lacks {published - typed}"
        compared += len(published)
    assert compared > 60


def test_every_option_of_the_service_is_one_here() -> None:
    assert set(FuseOptions.model_fields) <= set(Options.__annotations__)
    assert form_fields({"strict": True, "max_error": 1e-3, "dtype": None}) == {"strict": "true", "max_error": "0.001"}


def test_members_of_a_later_version_do_no_harm(report: dict[str, Any]) -> None:
    later = {**report, "schema_version": "1.9", "mood": "good", "summary": {**report["summary"], "more": [1]}}

    assert FuseReport.of(later).summary == FuseReport.of(report).summary
    assert FuseReport.of(later).raw["mood"] == "good"


@pytest.mark.parametrize(
    ("member", "value", "named"),
    [
        ("summary", {"layers_replaced": 1}, "report.summary has no member"),
        ("notes", "one", "report.notes"),
        ("replaced", [{"path": 3}], r"report.replaced\[0\].path"),
        ("timings_seconds", {"read": "long"}, "report.timings_seconds.read"),
    ],
)
def test_what_is_no_report_is_refused_by_the_name_of_the_member(
    report: dict[str, Any], member: str, value: object, named: str
) -> None:
    with pytest.raises(UnexpectedAnswer, match=named):
        FuseReport.of({**report, member: value})


def test_gates_are_met_or_not_by_the_figures_of_the_report(report: dict[str, Any]) -> None:
    found = FuseReport.of(report)
    assert found.equivalence is not None
    error = found.equivalence.native.relative

    good = Demands(max_error=error, layers=1, no_batch_norms=True, nothing_refused=True, end_to_end=True)
    assert [gate.met for gate in judge(found, good)] == [True] * 5
    bad = Demands(max_error=error * 0.99, layers=2, speedup=1.0)
    assert [gate.name for gate in judge(found, bad) if not gate.met] == ["max-error", "layers", "speedup"]
    assert judge(found, Demands()) == ()


def test_an_error_that_is_no_number_meets_no_gate(report: dict[str, Any]) -> None:
    native = {**report["equivalence"]["native"], "relative": float("nan")}
    broken = {**report, "equivalence": {**report["equivalence"], "native": native}}

    (gate,) = judge(FuseReport.of(broken), Demands(max_error=1e9))
    assert not gate.met


def test_the_slowest_batch_decides_about_speed(report: dict[str, Any]) -> None:
    rows = [
        {"batch": 1, "shape": [[1, 3, 8, 8]], "before_ms": 2.0, "after_ms": 1.0, "ratio": 2.0},
        {"batch": 8, "shape": [[8, 3, 8, 8]], "before_ms": 5.0, "after_ms": 4.0, "ratio": 1.25},
    ]
    latency = {"device": "cpu", "dtype": "float32", "rows": rows, "sentence": "Faster."}
    found = FuseReport.of({**report, "latency": latency})

    assert [judge(found, Demands(speedup=wanted))[0].met for wanted in (1.25, 1.3)] == [True, False]
    assert "batch 8: 5.00 ms before, 4.00 ms after (1.25 times as fast, median of the turns)" in report_markdown(found)


def test_markdown_holds_figures_verdict_and_gates_and_no_markup_of_the_uploads(report: dict[str, Any]) -> None:
    hostile = {**report["input"], "filename": "<img src=x>|a*b*\n# c.pt"}
    replaced = [{**report["replaced"][0], "path": "a`b|c\nd"}]
    found = FuseReport.of({**report, "input": hostile, "replaced": replaced})

    text = report_markdown(found, judge(found, Demands(layers=5)), "http://x/jobs/1")

    assert "| batch norms | 1 | 0 | -100.0 % |" in text
    assert "| layers | **not met** | 1 layers replaced, 5 demanded |" in text
    assert "Equivalent, measured end to end" in text
    assert r"\<img src=x\>\|a\*b\* # c.pt" in text
    assert r"`a'b\|c d`" in text
    assert "[The job](http://x/jobs/1)" in text


def test_every_code_of_the_service_becomes_an_exception_with_that_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AppError)]
    for kind in kinds:
        problem = Problem(kind.code, kind.status, kind.title)
        assert request_error(problem).code == job_error(problem).code == kind.code
    assert len(kinds) > 25


def test_a_problem_reads_well_and_keeps_its_further_members() -> None:
    problem = read_problem(
        {
            "code": "too-large",
            "status": 413,
            "title": "Too large",
            "detail": "9 bytes.",
            "limit_bytes": 8,
            "remedy": "Cut",
        }
    )

    assert str(problem) == "Too large: 9 bytes. What to do: Cut. [too-large]"
    assert problem.facts == {"limit_bytes": 8}
    assert "`too-large`" in problem_markdown(problem, "a<b>.pt")
    assert r"a\<b\>.pt" in problem_markdown(problem, "a<b>.pt")


def test_an_answer_that_is_no_problem_document_is_told_as_what_it_is() -> None:
    request = httpx.Request("GET", "http://x/v1/jobs/1")
    page = httpx.Response(200, html="<p>Hello", request=request)
    gateway = httpx.Response(502, html="<p>Bad gateway", request=request)
    moved = httpx.Response(308, headers={"location": "https://x/"}, request=request)

    assert "is that a Fusebox service" in str(answer_error(page))
    assert "502" in str(answer_error(gateway))
    assert "redirected to https://x/" in str(answer_error(moved))
