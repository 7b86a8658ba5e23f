"""`architecture=` as the caller writes it: a name, a name with arguments, or JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from app.errors import InvalidOption

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}")
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST: Final = 32
_REMEDY: Final = 'Write repvgg, repvgg:eps=1e-3, or {"name": "repvgg", "arguments": {"eps": 1e-3}}.'


@dataclass(frozen=True, slots=True)
class Architecture:
    """A name, and arguments that are plain JSON values."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The short form, as far as it has one."""
        given = ",".join(f"{name}={json.dumps(value)}" for name, value in self.arguments.items())
        return f"{self.name}:{given}" if given else self.name


def read_architecture(text: str) -> Architecture:
    """What the caller wrote. Raises InvalidOption."""
    if text.lstrip().startswith("{"):
        return _from_json(text)
    name, _, given = text.strip().partition(":")
    arguments: dict[str, Any] = {}
    for part in given.split(",") if given else ():
        key, equals, value = part.partition("=")
        if not equals or key.strip() in arguments:
            raise _wrong(f"{part[:100]!r} is no argument of its own: name=value")
        arguments[key.strip()] = _value(value.strip())
    return _checked(name, arguments)


def _value(text: str) -> Any:
    """A JSON value where it is one, else the text itself."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError):
        return text


def _from_json(text: str) -> Architecture:
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict) or not {"name"} <= found.keys() <= {"name", "arguments"}:
        raise _wrong("the object has other members than name and arguments")
    return _checked(found["name"], found.get("arguments", {}))


def _checked(name: Any, arguments: Any) -> Architecture:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"{str(name)[:100]!r} is no name of an architecture")
    if not isinstance(arguments, dict) or len(arguments) > _MOST:
        raise _wrong(f"arguments are an object of up to {_MOST} members")
    odd = next((key for key in arguments if not _ARGUMENT.fullmatch(key)), None)
    if odd is not None:
        raise _wrong(f"{odd[:100]!r} is no name of an argument")
    return Architecture(name, arguments)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("an object has a key twice")
    return table


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _wrong(what: str) -> InvalidOption:
    return InvalidOption(f"architecture can't be read: {what}.", remedy=_REMEDY, option="architecture")
