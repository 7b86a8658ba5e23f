"""How far back each value follows linearly: every way to write it as a map of a value before it. Nothing is chosen."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import torch

from app.engine import algebra
from app.engine.algebra import Affine, Refusal
from app.engine.interpret.pending import (
    Core,
    Pending,
    composed_core,
    conv_after_affine,
    conv_core,
    double,
    joined_core,
    pad_core,
    pool_core,
    take_core,
    vector,
)
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node, Value


@dataclass(frozen=True, slots=True)
class Barrier:
    """Why nothing that a node does can be part of a region."""

    code: str
    reason: str


Place = Hashable | Barrier  # nodes with equal places may share a region

_NOT_LINEAR = Barrier("not-linear", "not a linear operator")
_VARIES = Barrier("size-may-differ", "its numbers depend on a size that may differ: no weight can be made of them")
_EMPTY = Barrier("empty", "its output has no elements: nothing that replaces it could be proved")
# Joints above one another in one region, and ways back from one value; a longer stretch is cut. Real blocks have a
# handful of either.
_MAX_DEPTH = 40


class Reach:
    """The ways back from each value, filled by visiting the nodes of a graph in order."""

    def __init__(self, graph: Graph, places: Mapping[int, Place]) -> None:
        self.places = places
        self.options: dict[int, tuple[Pending, ...]] = {}  # by id(value), the nearest ancestor first
        self.closed: dict[int, Barrier] = {}  # by id(node): why it is in no region
        self.refused: dict[int, Refusal] = {}  # by id(node): why the first stretch with it does not go on
        self._makers = {id(node.output): node for node in graph.nodes}
        self._readers: dict[int, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self._readers.setdefault(id(value), []).append(node)
        self._outputs = [id(value) for value in graph.output_values()]

    def maker(self, value: Value) -> Node | None:
        """The node of this graph that makes a value; None for an input."""
        return self._makers.get(id(value))

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read a value, one as often as it does."""
        return self._readers.get(id(value), [])

    def count(self, value: Value) -> int:
        """How often a value is read; an output of the graph counts as a reader."""
        return len(self.readers(value)) + self._outputs.count(id(value))

    def place(self, node: Node) -> Place:
        return self.places.get(id(node), _NOT_LINEAR)

    def close(self, node: Node, why: Barrier) -> None:
        """No region goes through this node."""
        self.closed[id(node)] = why
        self.options.pop(id(node.output), None)

    def visit(self, node: Node) -> None:
        place = _EMPTY if 0 in node.output.shape else self.place(node)
        if not isinstance(place, Barrier) and any(const.varies for const in node.consts()):
            place = _VARIES
        result: list[Pending] | Barrier = place if isinstance(place, Barrier) else self._follow(node)
        if isinstance(result, Barrier):
            self.close(node, result)
        else:
            self.options[id(node.output)] = tuple(result[:_MAX_DEPTH])

    def _follow(self, node: Node) -> list[Pending] | Barrier:
        operation = node.operation
        match operation:
            case ir.BatchNorm() | ir.Scale() | ir.Shift():
                return self._affine(node, operation)
            case ir.Conv() | ir.Linear():
                axis = 1 if isinstance(operation, ir.Conv) else len(node.output.shape) - 1
                return self._conv(node, axis, conv_core(node))
            case ir.AvgPool():
                return self._conv(node, 1, pool_core(node))
            case ir.Pad():
                return self._conv(node, 1, pad_core(node))
            case ir.Take():
                return self._conv(node, operation.axis, take_core(node))
            case ir.Add() | ir.Concat():
                return self._join(node)
            case ir.Apply():
                return Barrier("not-linear", f"{operation.name} is not linear")

    def _before(self, value: Value, node: Node, axes: tuple[int, ...]) -> Iterator[Pending]:
        """The value itself as an ancestor, and then every way further back that `node` can go on with."""
        for axis in axes:
            yield Pending(value, value, axis)
        if self._passes(value, node):
            yield from (option for option in self.options.get(id(value), ()) if option.axis in axes)

    def _passes(self, value: Value, node: Node) -> bool:
        """Whether a value can lie inside of a region with this reader: all of its readers must."""
        maker = self.maker(value)
        if maker is None or id(value) in self._outputs:
            return False
        place = self.place(node)
        return self.place(maker) == place and all(self.place(reader) == place for reader in self.readers(value))

    def _affine(self, node: Node, operation: ir.BatchNorm | ir.Scale | ir.Shift) -> list[Pending] | Barrier:
        x, axes = node.inputs[0], _axes(operation, len(node.output.shape))
        found: list[Pending] = []
        for axis in axes:
            affine = affine_of(operation, x.shape[axis])
            if isinstance(affine, Refusal):
                return Barrier(affine.code, affine.reason)
            found.extend(option.then(affine, node) for option in self._before(x, node, (axis,)))
        return found

    def _conv(self, node: Node, axis: int, core: Core | Refusal) -> list[Pending] | Barrier:
        if isinstance(core, Refusal):
            return Barrier(core.code, core.reason)
        found = []
        for option in self._before(node.inputs[0], node, (axis,)):
            joint = _appended(option, node, core)
            if isinstance(joint, Refusal):
                self._refuse(joint, (*option.nodes, node))
            else:
                found.append(Pending(option.ancestor, node.output, axis, joint, None, (*option.nodes, node)))
        return found

    def _join(self, node: Node) -> list[Pending] | Barrier:
        if isinstance(node.operation, ir.Concat) and node.operation.dim != 1:
            return Barrier("not-over-channels", "concatenated along another dimension than the channels")
        if len(node.output.shape) < 2:
            return Barrier("no-channels", "has no channel dimension")
        branches = [{id(way.ancestor): way for way in self._before(value, node, (1,))} for value in node.inputs]
        shared = [key for key in branches[0] if all(key in ways for ways in branches)]
        found = []
        for key in shared:
            parts = tuple(ways[key] for ways in branches)
            joint = _joined(parts, node)
            nodes = (*dict.fromkeys(inner for part in parts for inner in part.nodes), node)
            if isinstance(joint, Refusal):
                self._refuse(joint, nodes)
            else:
                found.append(Pending(parts[0].ancestor, node.output, 1, joint, None, nodes))
        if found:
            return found
        why = self.refused.get(id(node)) or Refusal("different-inputs", "the branches do not start from one value")
        return Barrier(why.code, why.reason)

    def _refuse(self, why: Refusal, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self.refused.setdefault(id(node), why)


def _axes(operation: ir.BatchNorm | ir.Scale | ir.Shift, ndim: int) -> tuple[int, ...]:
    """The dimension along which the operation acts; a single number acts along any."""
    if isinstance(operation, ir.BatchNorm):
        return (1,)
    part = operation.factor if isinstance(operation, ir.Scale) else operation.offset
    if part.numel == 1:
        return tuple(dict.fromkeys((min(1, ndim - 1), ndim - 1)))
    return (operation.axis % ndim,)


def _appended(option: Pending, node: Node, core: Core) -> Core | Refusal:
    """core(option) as one core."""
    if option.core is not None:
        if option.core.depth >= _MAX_DEPTH:
            return Refusal("too-long", f"more than {_MAX_DEPTH} convolutions follow one another")
        return composed_core(option, node, core)
    return core if option.after is None else conv_after_affine(option, core)


def _joined(parts: tuple[Pending, ...], node: Node) -> Core | Refusal:
    if all(part.core is None and part.after is None for part in parts):
        return Refusal("nothing-linear", "no branch has a convolution")
    if any(part.core is not None and part.core.depth >= _MAX_DEPTH for part in parts):
        return Refusal("too-long", f"more than {_MAX_DEPTH} joints follow one another")
    return joined_core(parts, node)


def affine_of(operation: ir.BatchNorm | ir.Scale | ir.Shift, channels: int) -> Affine | Refusal:
    """The operation as y = scale * x + shift per channel, in float64."""
    match operation:
        case ir.Scale():
            return Affine(vector(operation.factor, channels), torch.zeros(channels, dtype=torch.float64))
        case ir.Shift():
            return Affine(torch.ones(channels, dtype=torch.float64), vector(operation.offset, channels))
    if operation.mean is None or operation.var is None:
        return Refusal(
            "batch-norm-without-statistics",
            "BatchNorm keeps no running statistics: its scale depends on the batch",
        )
    weight = None if operation.weight is None else double(operation.weight)
    bias = None if operation.bias is None else double(operation.bias)
    return algebra.batch_norm_affine(weight, bias, double(operation.mean), double(operation.var), operation.eps)
