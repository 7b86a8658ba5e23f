"""docs/report.md tells every field of a report and every code of a refusal, and no others."""

import ast
import re
from types import NoneType
from typing import Final, get_args

import pytest

from app import report
from app.report.part import Part
from tests.docs.pages import ROOT, rows_of

_PAGE: Final = ROOT / "docs/report.md"
# What `inspect` and a job's view say is no part of a report.
_PARTS: Final = [
    part
    for name in {*report.__all__} - {"Inspection", "Recognised"}
    if isinstance(part := getattr(report, name), type) and issubclass(part, Part)
]
# How reasons are made in the engine, and which of the arguments is the code; None for any of them.
_MADE_BY: Final = {
    "Refusal": 0,
    "Barrier": 0,
    "unknown": 0,
    "Cut": 1,
    "UnknownFlow": 1,
    "Skipped": 1,
    "unread": None,
    "_unread": None,
    "withheld": None,
}


@pytest.mark.parametrize(
    "part", [*sorted(_PARTS, key=lambda part: part.__name__), report.Report], ids=lambda part: part.__name__
)
def test_every_field_is_told_with_whether_it_may_be_null(part: type[Part]) -> None:
    told = {
        name: "null" in meaning
        for names, meaning in rows_of(_PAGE, part.__name__, "field")
        for name in re.findall(r"`(\w+)`", names)
    }

    fields = {name: NoneType in get_args(field.annotation) for name, field in part.model_fields.items()}
    assert told == fields


def _codes() -> set[str]:
    calls = [
        node
        for source in (ROOT / "app/engine").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _name(node) in _MADE_BY
    ]
    texts = [part.value for call in calls for part in ast.walk(_code(call)) if isinstance(part, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z]+(-[a-z]+)*", text)}


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _code(call: ast.Call) -> ast.expr:
    at = _MADE_BY[_name(call)]
    return ast.Tuple(call.args if at is None else call.args[at : at + 1])


def test_every_code_of_a_refusal_is_told() -> None:
    told = [code for row in rows_of(_PAGE, "Codes of refusals", "code") for code in re.findall(r"`([a-z-]+)`", row[0])]

    assert set(told) == _codes()
    assert len(told) == len(set(told))
