"""JSON into frozen dataclasses. Members that this version does not know are left aside; wrong types are refused."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fusebox_client.problems import UnexpectedAnswer

T = TypeVar("T")


def read(kind: type[T], value: object, at: str = "answer") -> T:
    """The value as this type. Raises UnexpectedAnswer, which names the member that is wrong."""
    return cast(T, _read(kind, value, at))


def _read(kind: Any, value: Any, at: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_optional(get_args(kind), value, at)
    if origin is tuple:
        return tuple(_read(get_args(kind)[0], one, f"{at}[{n}]") for n, one in enumerate(_checked(list, value, at)))
    if origin in (dict, Mapping):
        inner = get_args(kind)[1]
        return {name: _read(inner, one, f"{at}.{name}") for name, one in _checked(dict, value, at).items()}
    if origin is Literal:  # a later version may have further words
        return _checked(str, value, at)
    if is_dataclass(kind):
        return _read_dataclass(kind, _checked(dict, value, at), at)
    if kind is datetime:
        return _read_time(value, at)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if kind is Any else _checked(kind, value, at)


def _read_optional(kinds: tuple[Any, ...], value: Any, at: str) -> Any:
    """Unions here are of one kind and None."""
    if value is None and types.NoneType in kinds:
        return None
    (kind,) = (one for one in kinds if one is not types.NoneType)
    return _read(kind, value, at)


def _read_dataclass(kind: Any, value: Mapping[str, Any], at: str) -> Any:
    hints = _hints(kind)
    given: dict[str, Any] = {}
    for one in fields(kind):
        if one.name in value:
            given[one.name] = _read(hints[one.name], value[one.name], f"{at}.{one.name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise UnexpectedAnswer(f"{at} has no member {one.name}: is the service another version?")
    return kind(**given)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read_time(value: Any, at: str) -> datetime:
    try:
        return datetime.fromisoformat(_checked(str, value, at))
    except ValueError:
        raise UnexpectedAnswer(f"{at} is {value!r}, which is no time") from None


def _checked(kind: type[T], value: object, at: str) -> T:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise UnexpectedAnswer(f"{at} is {str(value)[:60]!r}, not {kind.__name__}: is the service another version?")
    return value
