"""Columns of a job that hold JSON, as values: what a newer version wrote is read as far as this one knows it.

Nothing here fails: a row that can't be read in part is still a job that its caller asks for.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from app.errors import Problem
from app.jobs.job import Input, Output, Phase
from app.options import FuseOptions
from app.report import Recognised

Part = TypeVar("Part", Input, Output, Problem)
Model = TypeVar("Model", bound=BaseModel)


def stored_options(options: FuseOptions) -> dict[str, Any]:
    """What the caller asked for: an older version can read a job that asks for nothing which it lacks."""
    return options.model_dump(mode="json", exclude_defaults=True)


def options_of(stored: Mapping[str, Any]) -> tuple[FuseOptions, tuple[str, ...]]:
    """The options that this version knows, and the names of those that it does not, or whose values it does not."""
    return _read(FuseOptions, stored)


def recognised_of(stored: Mapping[str, Any] | None) -> Recognised | None:
    """None also where something that this version needs is missing."""
    if stored is None:
        return None
    try:
        return _read(Recognised, stored)[0]
    except ValidationError:
        return None


def part_of(kind: type[Part], stored: Mapping[str, Any] | None) -> Part | None:
    """An input, output or problem, without members that this version does not know."""
    known = {field.name for field in fields(kind)}
    return None if stored is None else kind(**{name: value for name, value in stored.items() if name in known})


def phase_of(stored: str | None) -> Phase | None:
    """None for one that only a newer version has."""
    return next((phase for phase in get_args(Phase) if phase == stored), None)


def _read(model: type[Model], stored: Mapping[str, Any]) -> tuple[Model, tuple[str, ...]]:
    try:
        return model.model_validate(stored), ()
    except ValidationError as error:
        unknown = {str(wrong["loc"][0]) for wrong in error.errors()}
        known = {name: value for name, value in stored.items() if name not in unknown}
        return model.model_validate(known), tuple(sorted(unknown))
