"""The catalogue of problems tells all that there are, as they are sent."""

import re
from pathlib import Path

from app import errors
from app.api import problems, refusals

_TEXT = (Path(__file__).resolve().parent.parent.parent / "docs/problems.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def _kinds() -> set[type[errors.AppError]]:
    kinds = [kind for module in (errors, refusals) for kind in vars(module).values() if isinstance(kind, type)]
    return {kind for kind in kinds if issubclass(kind, errors.AppError)} - {errors.AppError}


def test_the_catalogue_is_the_code() -> None:
    told = [(code, int(status), title.strip()) for code, status, title, _ in _ROW.findall(_TEXT)]

    sent = {(kind.code, kind.status, kind.title) for kind in _kinds()}
    framework = {(code, status, title) for status, (code, title, _) in problems.TITLES.items()}
    assert set(told) == sent | framework
    assert len(told) == len(set(told)), "a code stands in two tables"


def test_every_problem_has_something_to_do_about_it() -> None:
    rows = _ROW.findall(_TEXT)

    assert len(rows) == len([line for line in _TEXT.splitlines() if line.startswith("| `")])
    assert all(remedy.strip().endswith(".") and len(remedy.strip()) > 10 for *_, remedy in rows)


def test_no_two_problems_share_a_code() -> None:
    codes = [kind.code for kind in _kinds()]

    assert len(codes) == len(set(codes))
