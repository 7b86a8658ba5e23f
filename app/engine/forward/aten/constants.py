"""Constants of a program: stored tensors, literals, and what is computed from them once, when somebody asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.forward.aten.invocation import flattened
from app.engine.ir.graph import Const
from app.engine.ir.node import Storage
from app.engine.ir.tensors import MemoryBytes, StoredTensor, storage_kind

MAX_LITERAL: Final = 1 << 24  # elements: a grid of all positions of a large map has fewer
_MAX_CALLS: Final = 4096  # within one expression: each of its parts is computed again wherever it is read


@dataclass(slots=True)
class Constants:
    """Makes constants and remembers the dtype of each: that of an expression need not be that of its sources."""

    _expressions: dict[int, "_Expression"] = field(default_factory=dict)  # by id(const), which each holds

    def dtype(self, const: Const) -> torch.dtype:
        """The dtype in which the file has the constant."""
        known = self._expressions.get(id(const))
        return known.dtype if known else const.stored_dtype

    def _calls(self, const: Const) -> int:
        known = self._expressions.get(id(const))
        return known.calls if known else 0

    def stored(self, path: str, tensor: StoredTensor) -> Const:
        return Const((tensor,), (path,), tensor.shape)

    def literal(self, tensor: Tensor, varies: bool = False) -> Const:
        return Const((), (), tuple(tensor.shape), None, tensor, varies)

    def scalar(self, number: complex, varies: bool = False) -> Const:
        """A number that takes the dtype of whatever it meets, as Python's do: kept in float64, without dimensions."""
        return self.literal(torch.tensor(number, dtype=torch.float64), varies)

    def like(self, dtype: torch.dtype) -> Const:
        """Stands for a float dtype: read in the run's dtype as all constants are, it tells which that is."""
        return self.literal(torch.zeros((), dtype=dtype))

    def sample(self, const: Const) -> Tensor:
        """Zeros in its place."""
        return torch.zeros(const.shape, dtype=self.dtype(const))

    def fold(self, function: Callable[..., Any], parts: Sequence[Const], name: str, varies: bool = False) -> list[Any]:
        """What a function of constants gives, each tensor of it a constant: literals at once, others when asked for.

        Raises what the function raises on zeros.
        """
        varies = varies or any(part.varies for part in parts)
        if all(part.literal is not None for part in parts):
            with torch.no_grad():
                results = list(flattened(function(*(part.literal for part in parts))))
            return [self.literal(one, varies) if isinstance(one, Tensor) else one for one in results]
        calls = 1 + sum(self._calls(part) for part in parts)
        if calls > _MAX_CALLS:
            raise ValueError(f"a constant takes more than {_MAX_CALLS:,} operators to compute")
        with torch.no_grad():
            samples = list(flattened(function(*(self.sample(part) for part in parts))))
        held = [_with_sources(part, name) for part in parts]
        return [
            self._expression(_Part(function, tuple(held), index), held, sample, varies, calls)
            if isinstance(sample, Tensor)
            else sample
            for index, sample in enumerate(samples)
        ]

    def _expression(self, compute: "_Part", parts: Sequence[Const], sample: Tensor, varies: bool, calls: int) -> Const:
        sources = tuple(source for part in parts for source in part.sources)
        paths = tuple(path for part in parts for path in part.paths)
        const = Const(sources, paths, tuple(sample.shape), compute, None, varies)
        self._expressions[id(const)] = _Expression(const, sample.dtype, calls)
        return const


@dataclass(frozen=True, slots=True)
class _Expression:
    const: Const
    dtype: torch.dtype
    calls: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One result of a function of constants, from the tensors of all of their sources."""

    function: Callable[..., Any]
    parts: tuple[Const, ...]
    index: int

    def __call__(self, *tensors: Tensor) -> Any:
        given: list[Tensor] = []
        at = 0
        for part in self.parts:
            own = tensors[at : at + len(part.sources)]
            at += len(own)
            given.append(own[0] if part.compute is None else part.compute(*own))
        return list(flattened(self.function(*given)))[self.index]


def _with_sources(const: Const, name: str) -> Const:
    """A literal as a tensor in memory, so that it is cast and moved as the others are."""
    if const.literal is None:
        return const
    held = const.literal.detach().contiguous()
    content = torch.empty(0, dtype=torch.uint8).set_(held.untyped_storage())
    storage = Storage(storage_kind(held.dtype), "", "cpu", held.numel(), MemoryBytes(content))
    offset, shape = int(held.storage_offset()), tuple(held.shape)
    return Const((StoredTensor(storage, offset, shape, held.stride(), held.dtype, False),), (name,), shape)
