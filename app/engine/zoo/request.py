"""Which model of a package is asked for, with which plain arguments. No package is needed to read it."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.errors import InvalidOption

Plain = None | bool | int | float | str | tuple[int | float, ...]

PACKAGES: Final = ("torchvision", "timm")
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?")  # timm: model.tag
_WORD: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_LARGEST: Final = 1 << 16  # no width, depth or size of a model is larger
_LONGEST: Final = 64
# What would fetch, open or import something, belongs to training, or makes another kind of model.
_REFUSED: Final = re.compile(
    r"pretrained.*|weights.*|checkpoint.*|cache.*|url|file|hf_.*|scriptable|exportable|no_jit|progress|device|dtype"
    r"|features_only|out_indices|.*path|state_dict|strict|.*cfg.*|model_name|kwargs|model"
)
EXAMPLES: Final = "torchvision/resnet50, timm/fastvit_t8:num_classes=10"


@dataclass(frozen=True, slots=True)
class Request:
    """A model of a package; `package` is None where the caller does not say which."""

    package: str | None
    name: str
    arguments: Mapping[str, Plain]

    @property
    def text(self) -> str:
        """As the caller may write it."""
        given = ",".join(f"{name}={_written(value)}" for name, value in self.arguments.items())
        return "".join((f"{self.package}/" if self.package else "", self.name, f":{given}" if given else ""))


def is_name(text: str) -> bool:
    """Whether the text has the form of a model's name: no path, no address, no name on a hub."""
    package, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (package in PACKAGES or not slash)


def request_of(text: str, arguments: Mapping[str, Any]) -> Request:
    """The model by its name, and each argument checked. Raises InvalidOption."""
    package, _, name = text.rpartition("/")
    if not is_name(text):
        raise InvalidOption(
            f"architecture is {text[:100]!r}: no name of a model of {' or '.join(PACKAGES)}.",
            remedy=f"Write for example {EXAMPLES}. Paths, addresses and names on a hub are never opened.",
        )
    for key in arguments:
        if _REFUSED.fullmatch(key):
            raise _wrong(key, "may not be given: arguments say what the model is, nothing else")
    return Request(package or None, name, {key: _plain(key, value) for key, value in arguments.items()})


def _plain(name: str, value: Any) -> Plain:
    """The value if it is of a kind that can do nothing but describe a model."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise _wrong(f"{name}={value}", f"is not a number up to {_LARGEST:,}")
        return value
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, list) and len(value) <= _LONGEST and all(type(part) in (int, float) for part in value):
        for part in value:
            _plain(name, part)
        return tuple(value)
    raise _wrong(f"{name}={value}", "is no number, truth value, word or list of numbers")


def _written(value: Plain) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _wrong(what: str, why: str) -> InvalidOption:
    return InvalidOption(
        f"architecture has {what[:100]!r}, which {why}.",
        remedy=f"Write the arguments as name=value, for example {EXAMPLES}.",
    )
