"""JSON within bounds, and typed access to it: whatever is not as the schema says is a MalformedFile with its place."""

import json
from typing import Any, Final, NoReturn

from app.engine.formats.limits import check_limit
from app.engine.formats.mapped_file import FileBytes
from app.errors import MalformedFile, TooLarge

MAX_BYTES: Final = 128 << 20  # a model of 10,000 operators has about 20 MB
_LONGEST_NAME: Final = 1024
_LARGEST: Final = 1 << 63

Table = dict[str, Any]


def read_json(record: FileBytes) -> Table:
    """The object in a record of the archive."""
    check_limit(f"bytes of {record.name}", record.nbytes, MAX_BYTES)
    try:
        found = json.loads(record.read(), object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise TooLarge(f"{record.name}: nested too deeply", remedy="Export the model again.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise MalformedFile(f"{record.name} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise MalformedFile(f"{record.name} does not hold a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> Table:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("an object has a key twice")
    return table


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def fault(where: str, what: str) -> MalformedFile:
    return MalformedFile(f"the exported program is damaged: {where[:200]} {what}")


def table(value: Any, where: str) -> Table:
    if not isinstance(value, dict):
        raise fault(where, "is not an object")
    return value


def items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise fault(where, "is not a list")
    return value


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise fault(where, "is not a text")
    return value


def name(value: Any, where: str) -> str:
    """A short text that is not empty."""
    found = text(value, where)
    if not 0 < len(found) <= _LONGEST_NAME:
        raise fault(where, f"is a name of {len(found):,} characters")
    return found


def integer(value: Any, where: str) -> int:
    if type(value) is not int or not -_LARGEST <= value < _LARGEST:
        raise fault(where, "is not an integer of 64 bits")
    return value


def truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise fault(where, "is neither true nor false")
    return value


def number(value: Any, where: str) -> float:
    """A float; the file writes those that JSON has not as texts."""
    special = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
    if isinstance(value, str) and value in special:
        return special[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise fault(where, "is not a number")
    return float(value)


def union(value: Any, where: str) -> tuple[str, Any]:
    """An object with one key that says what its value is."""
    one = table(value, where)
    if len(one) != 1:
        raise fault(where, f"has {len(one)} keys where one says what it is")
    return next(iter(one.items()))
