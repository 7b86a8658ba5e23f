"""Per-channel maps on their way through a graph: what a chain of norms, scales and shifts does, in float64."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from app.engine.algebra import Affine, Refusal
from app.engine.interpret.pending import numbers_of
from app.engine.interpret.reach import affine_of
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node, Passage, Value


@dataclass(frozen=True, slots=True)
class Map:
    """scale * x + shift along dimension `axis`; of single numbers, so along any, where that is None."""

    affine: Affine
    axis: int | None
    numbers: int  # how many of the file's it is priced at
    like: Node  # in whose name it is written down

    @property
    def shifts(self) -> bool:
        return bool(self.affine.shift.any())

    @property
    def positive(self) -> bool:
        return bool((self.affine.scale > 0).all())

    def without_shift(self) -> "Map":
        return replace(self, affine=Affine(self.affine.scale, torch.zeros_like(self.affine.shift)))

    def priced(self, numbers: int) -> "Map":
        return replace(self, numbers=numbers)

    def of(self, channels: Sequence[int]) -> "Map":
        """The map on these channels, in this order; of single numbers it is the same on all."""
        if self.axis is None:
            return self
        picked = torch.tensor(channels)
        return replace(self, affine=Affine(self.affine.scale[picked], self.affine.shift[picked]))

    def along(self, axis: int | None) -> "Map":
        return self if self.axis is None else replace(self, axis=axis)

    def nodes(self, x: Value) -> Iterator[Node]:
        """A scale and a shift behind `x`, where they do anything."""
        axis = min(1, len(x.shape) - 1) if self.axis is None else self.axis
        operations: list[ir.Operation] = []
        if not bool((self.affine.scale == 1).all()):
            operations.append(ir.Scale(_literal(self.affine.scale, self.numbers), axis))
        if self.shifts:
            operations.append(ir.Shift(_literal(self.affine.shift, 0 if operations else self.numbers), axis))
        for operation in operations:
            node = new_node(self.like, operation, (x,), Value(x.shape, None, x.dtype))
            x = node.output
            yield node


def _literal(numbers: torch.Tensor, price: int) -> Const:
    return Const((), (), tuple(numbers.shape), None, numbers, numbers=price)


def new_node(like: Node, operation: ir.Operation, inputs: tuple[Value, ...], output: Value) -> Node:
    """In the name of another."""
    return Node(operation, inputs, output, like.owner, like.scope)


def map_of(chain: Sequence[Node]) -> Map | None:
    """What per-channel operations in a row do; None where they are none, or not along one dimension."""
    total: Map | None = None
    for node in chain:
        one = _single(node)
        if one is None:
            return None
        total = one if total is None else _then(total, one)
        if total is None:
            return None
    return total


def _single(node: Node) -> Map | None:
    operation = node.operation
    if not isinstance(operation, (ir.BatchNorm, ir.Scale, ir.Shift)) or not node.output.shape:
        return None
    axis = axis_of(node)
    affine = affine_of(operation, 1 if axis is None else node.output.shape[axis])
    return None if isinstance(affine, Refusal) else Map(affine, axis, sum(map(numbers_of, node.consts())), node)


def axis_of(node: Node) -> int | None:
    """The dimension along which a per-channel operation acts; None for a single number."""
    operation = node.operation
    if isinstance(operation, ir.BatchNorm):
        return 1
    assert isinstance(operation, (ir.Scale, ir.Shift))
    part = operation.factor if isinstance(operation, ir.Scale) else operation.offset
    return None if part.numel == 1 else operation.axis % len(node.output.shape)


def _then(first: Map, second: Map) -> Map | None:
    if None not in (first.axis, second.axis) and first.axis != second.axis:
        return None
    axis = second.axis if first.axis is None else first.axis
    count = max(first.affine.scale.numel(), second.affine.scale.numel())
    affine = _wide(first.affine, count).then(_wide(second.affine, count))
    return Map(affine, axis, first.numbers + second.numbers, first.like)


def _wide(affine: Affine, count: int) -> Affine:
    return Affine(affine.scale.expand(count), affine.shift.expand(count))


def before(one: Map, passage: Passage) -> Map | None:
    """The map that does before a function what `one` does behind it; None where there is none."""
    axis = next((inner for inner, outer in passage.axes if outer == one.axis), None)
    if not _passes(one, passage) or (one.axis is not None and (axis is None or not passage.upwards)):
        return None
    moved = one.along(axis)
    return moved if passage.lands is None else moved.of(passage.lands)


def behind(one: Map, passage: Passage) -> Map | None:
    """The map that does behind a function what `one` does before it."""
    axis = next((outer for inner, outer in passage.axes if inner == one.axis), None)
    if not _passes(one, passage) or (one.axis is not None and (axis is None or not passage.downwards)):
        return None
    moved = one.along(axis)
    return moved if passage.comes is None else moved.of(passage.comes)


def _passes(one: Map, passage: Passage) -> bool:
    return (passage.shifts or not one.shifts) and (passage.signs or one.positive)


def passage_of(operation: ir.Operation) -> Passage | None:
    """Which maps change places with an operation of one value."""
    if isinstance(operation, ir.Apply):
        return operation.passage
    if isinstance(operation, ir.AvgPool):
        # A mean of shifted numbers is shifted, unless zeros of the border are among them.
        return Passage(((0, 0), (1, 1)), shifts=not any(operation.padding) or not operation.count_include_pad)
    return None
