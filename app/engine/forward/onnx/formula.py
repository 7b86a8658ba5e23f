"""Constants computed from constants: written down as steps, computed when somebody asks, in the dtype asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.ir.graph import Const
from app.engine.ir.tensors import StoredTensor, in_memory

MAX_STEPS: Final = 256  # of one expression; what is longer is left to the graph
_EAGER_ELEMENTS: Final = 1 << 16  # integers up to here are computed at once: shapes and indices


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One function over sources and earlier steps. Parts among `args` stand for tensors."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    output: int | None  # which one of several results


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """In the place of an argument: the source or step with this number."""

    source: StoredTensor | None
    step: Step | None


@dataclass(frozen=True, eq=False, slots=True)
class Formula:
    """Steps in an order in which they can be computed, the last one is the result. A part used twice is one step."""

    sources: tuple[StoredTensor, ...]
    steps: tuple[Step, ...]

    def __call__(self, *tensors: Tensor) -> Tensor:
        known = {id(source): tensor for source, tensor in zip(self.sources, tensors, strict=True)}
        device = tensors[0].device if tensors else torch.device("cpu")
        for step in self.steps:
            result = step.function(*(_fill(arg, known, device) for arg in step.args))
            known[id(step)] = result if step.output is None else result[step.output]
        return known[id(self.steps[-1])]


def _fill(arg: Any, known: dict[int, Tensor], device: torch.device) -> Any:
    if isinstance(arg, Part):
        return known[id(arg.step or arg.source)]
    return arg.to(device) if isinstance(arg, Tensor) else arg


def fold(
    function: Callable[..., Any], args: Sequence[Any], sample: Tensor, path: str, output: int | None = None
) -> Const | None:
    """function(*args) as a constant like `sample`; None where the expression grows too long.

    Small integers among `args` are numbers of the function itself, so that only floating-point tensors are sources.
    Literals become sources, so that they are cast to the dtype that is asked for as everything else is.
    """
    varies = any(arg.varies for arg in args if isinstance(arg, Const))
    parts = [_prepared(arg, path) for arg in args]
    consts = [part for part in parts if isinstance(part, Const)]
    named = [pair for const in consts for pair in zip(const.sources, const.paths, strict=True)]
    # First those of the result's dtype: a constant is taken to be stored as its first source is.
    named.sort(key=lambda pair: pair[0].dtype != sample.dtype)
    sources = {id(source): (source, name) for source, name in named}
    steps = {id(step): step for const in consts for step in _steps(const)}
    last = Step(function, tuple(_part(part) if isinstance(part, Const) else part for part in parts), output)
    if len(steps) >= MAX_STEPS or len(sources) > MAX_STEPS:
        return None
    tensors = tuple(source for source, _ in sources.values())
    paths = tuple(name for _, name in sources.values())
    formula = Formula(tensors, (*steps.values(), last))
    folded = Const(tensors, paths, tuple(sample.shape), formula, None, varies)
    return literal(folded.value(None), varies) if _at_once(folded, sample) else folded


def _at_once(const: Const, sample: Tensor) -> bool:
    """Small integers are computed now: shapes are needed while the graph is followed. So is what has no sources."""
    if not const.sources:
        return True
    elements = sample.numel() + sum(source.numel for source in const.sources)
    return not sample.is_floating_point() and elements <= _EAGER_ELEMENTS


def literal(tensor: Tensor, varies: bool = False) -> Const:
    """A constant that is in no tensor of the file."""
    return Const((), (), tuple(tensor.shape), None, tensor.contiguous(), varies)


def _prepared(arg: Any, path: str) -> Any:
    """A constant as what it is made of; small integers as they are."""
    if not isinstance(arg, Const):
        return arg
    if arg.literal is not None:
        whole = arg.literal.is_floating_point() or arg.literal.numel() > _EAGER_ELEMENTS
        return Const((in_memory(arg.literal),), (path,), arg.shape) if whole else arg.literal
    integers = arg.compute is None and not arg.sources[0].dtype.is_floating_point
    return arg.value(None).clone() if integers and prod(arg.shape) <= _EAGER_ELEMENTS else arg


def _steps(const: Const) -> tuple[Step, ...]:
    return const.compute.steps if isinstance(const.compute, Formula) else ()


def _part(const: Const) -> Part:
    steps = _steps(const)
    return Part(None, steps[-1]) if steps else Part(const.sources[0], None)
