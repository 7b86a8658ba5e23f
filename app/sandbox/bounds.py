"""How large the words of a child may be. It cuts them itself; its worker takes none that are not cut so."""

import json
import math
from dataclasses import replace
from typing import Any

from app.errors import Problem, is_known
from app.report import Recognised

_MOST_CHARACTERS = 4000
_MOST_PARTS = 1000
_DEEPEST = 8
_MOST_FACTS = 256 << 10  # characters of JSON
_LARGEST = 1 << 63


def bounded(problem: Problem) -> Problem:
    """The problem with its texts and lists cut to what a caller can read and every database stores."""
    facts = _bounded(problem.facts, 0)
    if len(json.dumps(facts)) > _MOST_FACTS:
        facts = {}
    return replace(problem, detail=_text(problem.detail), remedy=_text(problem.remedy), facts=facts)


def bounded_recognised(recognised: Recognised) -> Recognised:
    return Recognised.model_validate(_bounded(recognised.model_dump(), 0))


def is_bounded(problem: Problem) -> bool:
    """Whether a child may say this: one of our own problems, within bounds."""
    return is_known(problem) and bounded(problem) == problem


def is_bounded_recognised(recognised: Recognised) -> bool:
    return bounded_recognised(recognised) == recognised


def _bounded(value: Any, depth: int) -> Any:
    match value:
        case str():
            return _text(value)
        case dict() if depth < _DEEPEST:
            return {_text(str(name)): _bounded(one, depth + 1) for name, one in list(value.items())[:_MOST_PARTS]}
        case list() | tuple() if depth < _DEEPEST:
            return [_bounded(one, depth + 1) for one in value[:_MOST_PARTS]]
        case bool() | None:
            return value
        case int():
            return value if -_LARGEST <= value < _LARGEST else None
        case float():
            return value if math.isfinite(value) else None
        case _:
            return None


def _text(text: str) -> str:
    """No NUL and no half of a character: databases refuse them."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
