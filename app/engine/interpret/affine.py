"""The affine reading: every value as "the convolution from my last non-linear ancestor", and where that ends.

Linear operations compose in the algebra; anything else cuts the value, which becomes a new ancestor. A cut that leaves
a stretch of two or more operators behind gives a region, if one convolution in their place costs no more.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

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
    pool_core,
    vector,
)
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node, Value, readers


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a stretch ends here."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """Why nothing that a node does can be part of a region."""

    code: str
    reason: str


Place = Hashable | Barrier  # nodes with equal places may share a region


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of nodes that one convolution replaces."""

    pending: Pending
    place: Hashable

    @property
    def input(self) -> Value:
        return self.pending.ancestor

    @property
    def output(self) -> Value:
        return self.pending.value

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.pending.nodes


@dataclass(frozen=True, slots=True)
class Reading:
    """Regions in graph order, and a reason for each foldable node that is in none, by `id(node)`."""

    regions: tuple[Region, ...]
    cuts: Mapping[int, Cut]


def read(graph: Graph, places: Mapping[int, Place]) -> Reading:
    """Find the regions. `places` says by `id(node)` where what a node does may be written; no entry is a barrier."""
    reader = _Reader(places, readers(graph))
    for node in graph.nodes:
        reader.visit(node)
    reader.close()
    position = {id(node): number for number, node in enumerate(graph.nodes)}
    regions = tuple(sorted(reader.regions, key=lambda region: position[id(region.nodes[-1])]))
    return Reading(regions, _unfolded(graph, regions, reader))


_NOT_LINEAR = Barrier("not-linear", "not a linear operator")
# Joints above one another in one region; a longer stretch is cut. Real blocks have a handful.
_MAX_DEPTH = 40


@dataclass(slots=True)
class _Reader:
    places: Mapping[int, Place]
    readers: Mapping[int, int]
    pending: dict[int, tuple[Pending, Hashable]] = field(default_factory=dict)
    why: dict[int, tuple[str, str]] = field(default_factory=dict)  # by id(value): why it was cut
    regions: list[Region] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        place = self.places.get(id(node), _NOT_LINEAR)
        result: Pending | Barrier = place if isinstance(place, Barrier) else self._follow(node, place)
        if isinstance(result, Barrier):
            for value in node.inputs:
                self.cut(value, result.code, result.reason)
            self.why.setdefault(id(node.output), (result.code, result.reason))
            return
        self.pending[id(node.output)] = (result, place)
        count = self.readers.get(id(node.output), 0)
        if count > 1:
            self.cut(node.output, "several-readers", f"its output is read {count} times")

    def close(self) -> None:
        for pending, _ in list(self.pending.values()):
            self.cut(pending.value, "output", "it is an output")

    def cut(self, value: Value, code: str, reason: str) -> None:
        """`value` is materialised: what was pending becomes regions, its readers start anew."""
        self.why.setdefault(id(value), (code, reason))
        found = self.pending.pop(id(value), None)
        if found is not None:
            self.settle(*found)

    def settle(self, pending: Pending, place: Hashable) -> None:
        """Replace the whole stretch if that costs no more, else its parts."""
        core = pending.core
        if core is None or len(pending.nodes) < 2:
            return
        cost, fused = pending.cost, pending.fused_cost
        if fused.parameters <= cost.parameters and fused.multiply_adds <= cost.multiply_adds:
            self.regions.append(Region(pending, place))
            return
        reason = (
            f"one convolution would have {fused.parameters:,} parameters and {fused.multiply_adds:,} multiply-adds, "
            f"the operators have {cost.parameters:,} and {cost.multiply_adds:,}"
        )
        for part in _parts(pending):
            self.why[id(part.value)] = ("would-grow", reason)
            self.settle(part, place)

    def _take(self, value: Value, place: Hashable, axis: int) -> Pending:
        found = self.pending.get(id(value))
        if found is not None and found[1] == place and found[0].axis == axis:
            del self.pending[id(value)]
            return found[0]
        self.cut(value, "written-elsewhere", "the next operator belongs to another block")
        return Pending(value, value, axis)

    def _follow(self, node: Node, place: Hashable) -> Pending | Barrier:
        operation = node.operation
        match operation:
            case ir.BatchNorm() | ir.Scale() | ir.Shift():
                return self._affine(node, operation, place)
            case ir.Conv() | ir.Linear():
                axis = 1 if isinstance(operation, ir.Conv) else len(node.output.shape) - 1
                return self._conv(node, self._take(node.inputs[0], place, axis), conv_core(node))
            case ir.AvgPool():
                core = pool_core(node)
                if isinstance(core, Refusal):
                    return Barrier(core.code, core.reason)
                return self._conv(node, self._take(node.inputs[0], place, 1), core)
            case ir.Add() | ir.Concat():
                return self._join(node, place)
            case ir.Pad() | ir.Take():
                return Barrier("not-composed", f"{type(operation).__name__} is not composed yet")
            case ir.Apply():
                return Barrier("not-linear", f"{operation.name} is not linear")

    def _affine(self, node: Node, operation: ir.BatchNorm | ir.Scale | ir.Shift, place: Hashable) -> Pending | Barrier:
        axis = 1 if isinstance(operation, ir.BatchNorm) else operation.axis % len(node.output.shape)
        affine = affine_of(operation, node.output.shape[axis])
        if isinstance(affine, Refusal):
            return Barrier(affine.code, affine.reason)
        x = self._take(node.inputs[0], place, axis)
        after = affine if x.after is None else x.after.then(affine)
        return replace(x, value=node.output, after=after, nodes=(*x.nodes, node))

    def _conv(self, node: Node, x: Pending, core: Core) -> Pending:
        result: Core | Refusal = core
        if x.core is not None:
            too_deep = Refusal("too-long", f"more than {_MAX_DEPTH} convolutions follow one another")
            result = composed_core(x, node, core) if x.core.depth < _MAX_DEPTH else too_deep
        elif x.after is not None:
            result = conv_after_affine(x, core)
        if isinstance(result, Refusal):
            self._give_up(x, result)
            return Pending(x.value, node.output, x.axis, core, None, (node,))
        return Pending(x.ancestor, node.output, x.axis, result, None, (*x.nodes, node))

    def _join(self, node: Node, place: Hashable) -> Pending | Barrier:
        if isinstance(node.operation, ir.Concat) and node.operation.dim != 1:
            return Barrier("not-over-channels", "concatenated along another dimension than the channels")
        parts = tuple(self._take(value, place, 1) for value in node.inputs)
        if len({id(part.ancestor) for part in parts}) > 1:
            joined: Core | Refusal = Refusal("different-inputs", "the branches do not start from one value")
        elif all(part.core is None and part.after is None for part in parts):
            joined = Refusal("nothing-linear", "no branch has a convolution")
        elif any(part.core is not None and part.core.depth >= _MAX_DEPTH for part in parts):
            joined = Refusal("too-long", f"more than {_MAX_DEPTH} joints follow one another")
        else:
            joined = joined_core(parts, node)
        if isinstance(joined, Refusal):
            for part in parts:
                self._give_up(part, joined)
            return Barrier(joined.code, joined.reason)
        nodes = tuple(dict.fromkeys(node for part in parts for node in part.nodes))
        return Pending(parts[0].ancestor, node.output, 1, joined, None, (*nodes, node))

    def _give_up(self, pending: Pending, refusal: Refusal) -> None:
        if not pending.is_ancestor:
            self.why[id(pending.value)] = (refusal.code, refusal.reason)
            self.settle(pending, self.places[id(pending.nodes[-1])])


def _parts(pending: Pending) -> tuple[Pending, ...]:
    """The stretches that are left if the last joining operation is not taken in."""
    core = pending.core
    if core is None or not core.parts:
        return ()
    if isinstance(core.last, Node) and isinstance(core.last.operation, (ir.Add, ir.Concat)):
        return core.parts
    first, above = core.parts
    later = pending.nodes[len(first.nodes) :]
    return first, replace(above, value=pending.value, after=pending.after, nodes=later)


def affine_of(operation: ir.BatchNorm | ir.Scale | ir.Shift, channels: int) -> Affine | Refusal:
    """The operation as y = scale * x + shift per channel, in float64."""
    ones, zeros = torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    match operation:
        case ir.Scale():
            return Affine(vector(operation.factor, channels), zeros)
        case ir.Shift():
            return Affine(ones, vector(operation.offset, channels))
    if operation.mean is None or operation.var is None:
        return Refusal(
            "batch-norm-without-statistics",
            "BatchNorm keeps no running statistics: its scale depends on the batch",
        )
    weight = None if operation.weight is None else double(operation.weight)
    bias = None if operation.bias is None else double(operation.bias)
    return algebra.batch_norm_affine(weight, bias, double(operation.mean), double(operation.var), operation.eps)


def _unfolded(graph: Graph, regions: tuple[Region, ...], reader: _Reader) -> dict[int, Cut]:
    """A reason for each norm, scale and shift that is in no region."""
    inside = {id(node) for region in regions for node in region.nodes}
    cuts = {}
    for node in graph.nodes:
        if id(node) not in inside and isinstance(node.operation, (ir.BatchNorm, ir.Scale, ir.Shift)):
            cuts[id(node)] = Cut(node.owner, *_reason(node, reader))
    return cuts


def _reason(node: Node, reader: _Reader) -> tuple[str, str]:
    before = node.inputs[0]
    reasons = [reader.why.get(id(node.output)), reader.why.get(id(before))]
    for found in reasons:
        if found is not None and found[0] not in ("output", "written-elsewhere", "not-linear"):
            return found
    source = before.node.operation if before.node else None
    stands = "the input" if source is None else source.name if isinstance(source, ir.Apply) else type(source).__name__
    return "no-convolution-beside", f"stands after {stands}, and no convolution directly follows"
