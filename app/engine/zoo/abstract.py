"""Models without memory: built on the meta device, to be compared with an upload before anything is allocated."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from app.errors import InvalidOption, TooLarge

# What makes weights. Sequences of numbers (arange, linspace) stay real: code reads widths and rates off them.
_WEIGHTS: Final = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand, torch.normal})
# How weights are given their first values, which nobody asks for here.
_FILLING: Final = frozenset(
    getattr(torch.Tensor, name)
    for name in ("normal_", "uniform_", "zero_", "fill_", "mul_", "div_", "add_", "sub_", "clamp_", "erfinv_", "copy_")
)
_SPARE: Final = 512  # parameters that a model may make and throw away again


class _OnMeta(TorchFunctionMode):
    """Puts what would be a weight on the meta device, and gives it no values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in _FILLING or getattr(func, "__module__", "") == "torch.nn.init":
            filled = args[0] if args else given.get("tensor")
            if isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
        if func in _WEIGHTS and given.get("device") is None:
            given["device"] = "meta"
        return func(*args, **given)


def abstract(build: Callable[[], torch.nn.Module], tensors: int) -> torch.nn.Module:
    """What `build` makes, on the meta device. Raises TooLarge where it makes far more parameters than `tensors`."""
    with _counted(2 * tensors + _SPARE):
        try:
            with _OnMeta():
                return build()
        except InvalidOption:  # code that mixes weights with such sequences wants both in one place
            with torch.device("meta"):
                return build()


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """At most so many parameters are registered within: a depth of a million would take for ever to build."""
    count = 0

    def registered(module: torch.nn.Module, name: str, parameter: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise TooLarge(
                f"the architecture has more than {most:,} parameters, far more than the file has tensors",
                remedy="Name the architecture whose weights these are.",
            )

    handle = torch.nn.modules.module.register_module_parameter_registration_hook(registered)
    try:
        yield
    finally:
        handle.remove()
