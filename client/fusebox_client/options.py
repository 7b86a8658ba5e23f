"""What a caller may ask for, as keyword arguments of `fuse` and as fields of the form."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from fusebox_client.problems import FuseboxError


class Options(TypedDict, total=False):
    """Options of one job; what is left out, or None, is the service's default. The service explains each."""

    max_error: float | None
    dtype: Literal["keep", "float32"] | None
    strict: bool | None
    probe_shape: str | None
    architecture: str | None
    plan: str | None
    output: Literal["keep", "pt2", "onnx"] | None
    overridable: Literal["keep", "fold"] | None
    benchmark: bool | None


class UnknownOption(FuseboxError):
    """There is no option of this name."""


def form_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """The options as text. Raises UnknownOption, before anything is sent."""
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise UnknownOption(f"There is no option {unknown[0]!r}; there are {', '.join(Options.__annotations__)}.")
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
