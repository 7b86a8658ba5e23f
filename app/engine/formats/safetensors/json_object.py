"""JSON of a header or an index within bounds: no key twice, no NaN, no depth, no half characters."""

import json
import re
from math import isfinite
from typing import Any, Final, NoReturn

from app.errors import MalformedFile, TooLarge

# Of what is JSON in such a file. The specification allows 100 MB; 100,000 tensors take about 12.
MAX_JSON_BYTES: Final = 16 << 20
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def read_object(raw: bytes, where: str) -> dict[str, Any]:
    """The one object in `raw`. Raises MalformedFile."""
    try:
        found = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite
        )
    except RecursionError:
        raise TooLarge(f"{where}: nested too deeply", remedy="Save the file again.") from None
    except ValueError as error:
        raise damaged(f"{where} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise damaged(f"{where} is not a JSON object")
    return found


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise damaged(f"{where} is not a text")
    return value


def damaged(what: str) -> MalformedFile:
    shown = what.encode("utf-8", "backslashreplace").decode()
    return MalformedFile(f"safetensors: {shown}", remedy="Save the file again with the safetensors library.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("an object has a key twice")
    return table


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits[:40]} is beyond every float")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
