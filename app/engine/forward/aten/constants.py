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
_MAX_CALLS: Final = 4096  # of which one constant may be computed


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """A function of constants; each is computed once for all that read it."""

    function: Callable[..., Any]
    parts: tuple["_Result | _Leaf", ...]


@dataclass(frozen=True, slots=True)
class _Result:
    call: _Call
    index: int


@dataclass(frozen=True, eq=False, slots=True)
class _Leaf:
    """A tensor that is read, not computed."""

    source: StoredTensor
    path: str


@dataclass(frozen=True, slots=True)
class _Expression:
    """What the numbers of a constant come from: calls in an order in which they can be made."""

    const: Const
    result: _Result
    calls: tuple[_Call, ...]
    leaves: tuple[_Leaf, ...]
    dtype: torch.dtype


@dataclass(slots=True)
class Constants:
    """Makes constants and remembers the dtype of each: that of an expression need not be that of its sources."""

    _expressions: dict[int, _Expression] = field(default_factory=dict)  # by id(const), which each holds
    _leaves: dict[int, tuple[Const, _Leaf]] = field(default_factory=dict)

    def dtype(self, const: Const) -> torch.dtype:
        """The dtype in which the file has the constant."""
        known = self._expressions.get(id(const))
        return known.dtype if known else const.stored_dtype

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
        """Zeros in its place; but literals as they are, which often are indices."""
        if const.literal is not None:
            return const.literal
        return torch.zeros(const.shape, dtype=self.dtype(const))

    def fold(self, function: Callable[..., Any], parts: Sequence[Const], name: str, varies: bool = False) -> list[Any]:
        """What a function of constants gives, each tensor of it a constant: literals at once, others when asked for.

        Raises what the function raises on zeros.
        """
        varies = varies or any(part.varies for part in parts)
        with torch.no_grad():
            samples = list(flattened(function(*(self.sample(part) for part in parts))))
        if all(part.literal is not None for part in parts):
            return [self.literal(one, varies) if isinstance(one, Tensor) else one for one in samples]
        call = _Call(function, tuple(self._part(part, name) for part in parts))
        calls = tuple(dict.fromkeys([*(one for part in parts for one in self._calls(part)), call]))
        if len(calls) > _MAX_CALLS:
            raise ValueError(f"a constant takes more than {_MAX_CALLS:,} operators to compute")
        leaves = tuple(dict.fromkeys(part for one in calls for part in one.parts if isinstance(part, _Leaf)))
        return [
            self._expression(_Result(call, index), calls, leaves, sample, varies)
            if isinstance(sample, Tensor)
            else sample
            for index, sample in enumerate(samples)
        ]

    def _expression(
        self, result: _Result, calls: tuple[_Call, ...], leaves: tuple[_Leaf, ...], sample: Tensor, varies: bool
    ) -> Const:
        sources, paths = tuple(leaf.source for leaf in leaves), tuple(leaf.path for leaf in leaves)
        const = Const(sources, paths, tuple(sample.shape), _Evaluation(result, calls, leaves), None, varies)
        self._expressions[id(const)] = _Expression(const, result, calls, leaves, sample.dtype)
        return const

    def _calls(self, const: Const) -> tuple[_Call, ...]:
        known = self._expressions.get(id(const))
        return known.calls if known else ()

    def _part(self, const: Const, name: str) -> "_Result | _Leaf":
        known = self._expressions.get(id(const))
        if known:
            return known.result
        if id(const) not in self._leaves:
            source, path = (const.sources[0], const.paths[0]) if const.sources else (_in_memory(const), name)
            self._leaves[id(const)] = (const, _Leaf(source, path))
        return self._leaves[id(const)][1]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One result of several calls, from the tensors of the leaves."""

    result: _Result
    calls: tuple[_Call, ...]
    leaves: tuple[_Leaf, ...]

    def __call__(self, *tensors: Tensor) -> Any:
        read = dict(zip(self.leaves, tensors, strict=True))
        made: dict[_Call, list[Any]] = {}
        for call in self.calls:
            given = [made[part.call][part.index] if isinstance(part, _Result) else read[part] for part in call.parts]
            made[call] = list(flattened(call.function(*given)))
        return made[self.result.call][self.result.index]


def _in_memory(const: Const) -> StoredTensor:
    """A literal as a tensor in memory of its own, so that it is cast and moved as stored ones are."""
    assert const.literal is not None
    held = const.literal.detach().contiguous().clone()
    content = torch.empty(0, dtype=torch.uint8).set_(held.untyped_storage())
    storage = Storage(storage_kind(held.dtype), "", "cpu", held.numel(), MemoryBytes(content))
    return StoredTensor(storage, 0, tuple(held.shape), held.stride(), held.dtype, False)
