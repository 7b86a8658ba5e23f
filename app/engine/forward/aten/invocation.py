"""Calls with the tensors taken out: what is left can be kept, and called with any tensors in their places."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.engine.ir.graph import Const, Value


@dataclass(frozen=True, slots=True)
class Hole:
    """The place of the tensor with this number."""

    index: int


@dataclass(frozen=True, slots=True)
class DtypeOf:
    """The dtype of the tensor with this number: a cast that follows the dtype in which the graph is run."""

    index: int


@dataclass(frozen=True, slots=True)
class Invocation:
    """`function(*args, **kwargs)` but for the tensors."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self, *tensors: Tensor) -> Any:
        return self.function(
            *(_filled(arg, tensors) for arg in self.args), **{k: _filled(v, tensors) for k, v in self.kwargs.items()}
        )


@dataclass(frozen=True, slots=True)
class Several:
    """The tensors at these positions of what a call gives, nested results taken apart."""

    call: Callable[..., Any]
    positions: tuple[int, ...]

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        found = list(flattened(self.call(*tensors)))
        return [found[position] for position in self.positions]


def taken_apart(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], like: Callable[[torch.dtype], Const]
) -> tuple[Invocation, list[Value | Const]]:
    """The call without its tensors, and these in order. A float dtype becomes that of what `like` gives."""
    tensors: list[Value | Const] = []

    def hole(arg: Any) -> Any:
        if isinstance(arg, (Value, Const)):
            tensors.append(arg)
            return Hole(len(tensors) - 1)
        if isinstance(arg, torch.dtype) and arg.is_floating_point:
            tensors.append(like(arg))
            return DtypeOf(len(tensors) - 1)
        return [hole(part) for part in arg] if isinstance(arg, (list, tuple)) else arg

    held_args, held_kwargs = tuple(hole(arg) for arg in args), {key: hole(arg) for key, arg in kwargs.items()}
    return Invocation(function, held_args, held_kwargs), tensors


def _filled(arg: Any, tensors: tuple[Tensor, ...]) -> Any:
    if isinstance(arg, Hole):
        return tensors[arg.index]
    if isinstance(arg, DtypeOf):
        return tensors[arg.index].dtype
    return [_filled(part, tensors) for part in arg] if isinstance(arg, list) else arg


def flattened(result: Any) -> Iterator[Any]:
    """The parts of a nested result, in order."""
    if isinstance(result, (list, tuple)):
        for part in result:
            yield from flattened(part)
    else:
        yield result
