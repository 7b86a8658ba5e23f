"""Replacing regions of a graph file: what each region would be written as, and the graph with that in its place."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.engine.algebra import Geometry, Refusal
from app.engine.fuse.moves import Move, moved
from app.engine.fuse.replacement import Replacement, foldable, stored_numbers
from app.engine.fuse.scales import affine_cost, affine_operations, after_widths
from app.engine.fuse.sharing import Sharing, signature
from app.engine.interpret import affine
from app.engine.interpret.affine import Barrier, Cut, Region
from app.engine.interpret.pending import Cost, Pending
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value
from app.engine.ir.program import Body, Program

# How many operators of the file's format one operation is written as; None if the format has none for it.
OperatorsOf = Callable[[ir.Operation, int], int | None]

_ANYWHERE = "the graph"


@dataclass(frozen=True, slots=True)
class ProgramFusion:
    """The replacements in a program, a reason for each foldable operator that stays, and the graph that results.

    `basis` is the program's graph with per-channel maps moved, nothing replaced: what the regions are regions of.
    """

    program: Program
    basis: Graph
    replacements: tuple[Replacement, ...]
    cuts: tuple[Cut, ...]
    graph: Graph
    bodies: "tuple[BodyFusion, ...]" = ()


@dataclass(frozen=True, slots=True)
class BodyFusion:
    """What is replaced in a graph within an operator."""

    body: Body
    fusion: ProgramFusion


def plan_program(program: Program, operators_of: OperatorsOf) -> ProgramFusion:
    """Find what can be replaced and compute its weights. Nothing is edited."""

    owners, withheld = _Owners(program), {part.path: Barrier(part.code, part.reason) for part in program.withheld}

    def read(graph: Graph) -> affine.Reading:
        places = {id(node): _place(node, withheld) for node in graph.nodes}
        sharing, denied = Sharing(graph), set[int]()
        while True:
            offers = _Offers(owners, sharing, operators_of, denied)
            reading = affine.read(graph, places, offers)
            growing = sharing.growing(reading.regions, {id(r.output): _written(offers, r) for r in reading.regions})
            if not growing:
                return reading
            denied |= growing

    def may_go(move: Move) -> bool:
        asked = move.passes and move.loses(program.measured)
        return not asked and owners.whole(move.gone)

    graph = moved(program.graph, lambda trial: _inside(read(trial)), may_go)
    reading = read(graph)
    cuts, replacements = dict(reading.cuts), []
    alike: dict[Hashable, Replacement] = {}
    for region in reading.regions:
        outcome = _materialised(region, alike)
        if isinstance(outcome, Refusal):
            cuts.update({id(node): Cut(node.owner, outcome.code, outcome.reason) for node in foldable(region)})
        else:
            replacements.append(outcome)
    order = {id(node): number for number, node in enumerate(graph.nodes)}
    reasons = tuple(cut for _, cut in sorted(cuts.items(), key=lambda pair: order[pair[0]]))
    return ProgramFusion(program, graph, tuple(replacements), reasons, _rewritten(graph, replacements))


def _written(offers: "_Offers", region: Region) -> int:
    offered = offers(region.pending)
    assert isinstance(offered, Cost)
    return offered.parameters


def _inside(reading: affine.Reading) -> set[int]:
    """The nodes that convolutions take in."""
    return {id(node) for region in reading.regions if region.pending.core for node in region.nodes}


def _place(node: Node, withheld: Mapping[str, Barrier]) -> affine.Place:
    if isinstance(node.operation, ir.Apply):
        return withheld.get(node.owner) or Barrier("not-linear", f"{node.operation.name} is not linear")
    return _ANYWHERE


class _Owners:
    """Which nodes each operator of the file is, and whether it can do without some of them."""

    def __init__(self, program: Program) -> None:
        self.partial = program.partial
        self._nodes: dict[str, set[int]] = {}
        for node in program.graph.nodes:
            self._nodes.setdefault(node.owner, set()).add(id(node))

    def broken(self, nodes: Iterable[Node]) -> str | None:
        """The first operator of which these are a part that can't go alone; nodes that were made here don't count."""
        taken: dict[str, set[int]] = {}
        for node in nodes:
            if id(node) in self._nodes.get(node.owner, ()):
                taken.setdefault(node.owner, set()).add(id(node))
        parts = (owner for owner, ids in taken.items() if ids != self._nodes[owner] and owner not in self.partial)
        return next(parts, None)

    def left(self, nodes: Iterable[Node]) -> int:
        """How many nodes of norms that are taken in part stay, each as an operator of its own from then on."""
        taken = Counter(node.owner for node in nodes if id(node) in self._nodes.get(node.owner, ()))
        return sum(len(self._nodes[owner]) - 1 - taken[owner] for owner in taken if owner in self.partial)

    def whole(self, nodes: Sequence[Node]) -> bool:
        return self.broken(nodes) is None


class _Offers:
    """Prices what would be written in a stretch's place; refuses where it takes what others still need."""

    def __init__(self, owners: _Owners, sharing: Sharing, operators_of: OperatorsOf, denied: set[int]) -> None:
        self._operators_of = operators_of
        self._owners = owners
        self._sharing = sharing
        self._denied = denied  # ids of values at which no region may end that shares its constants

    def __call__(self, pending: Pending) -> Cost | Refusal | None:
        operations = _operations(pending)
        if operations is None:
            return None
        return self._takes_part(pending) or self._shares(pending) or self._price(pending, operations)

    def _price(self, pending: Pending, operations: Sequence[ir.Operation]) -> Cost | Refusal:
        rank = len(pending.value.shape)
        counts = [self._operators_of(operation, rank) for operation in operations]
        if any(count is None for count in counts):
            return Refusal("no-such-operator", "the format has no operator for the convolution that would result")
        whole = pending.fused_cost if pending.core else affine_cost(pending, operations)
        # What is only a part of an operator that stays is no operator that goes.
        free = sum(node.owner in self._owners.partial for node in pending.nodes)
        bias = 0 if pending.bias_zero else whole.bias
        return replace(
            whole,
            operators=free + self._owners.left(pending.nodes) + sum(count for count in counts if count is not None),
            parameters=whole.parameters - whole.bias + bias,
            bias=bias,
            even=free > 0,
        )

    def _takes_part(self, pending: Pending) -> Refusal | None:
        """An operator of the file that is several nodes goes as a whole, unless the writer knows its rest."""
        owner = self._owners.broken(pending.nodes)
        if owner is None:
            return None
        return Refusal("operator-not-whole", f"only a part of the operator {owner} would be replaced")

    def _shares(self, pending: Pending) -> Refusal | None:
        path = self._sharing.shared(pending.nodes) if self._denied else None
        if path is None or id(pending.value) not in self._denied:
            return None
        return Refusal("weights-shared", f"{path} is used by other operators, too, that stay")


def _operations(pending: Pending) -> tuple[ir.Operation, ...] | None:
    """What would be written, with shapes but without numbers; None where nothing stands for the stretch."""
    if pending.core is None:
        return affine_operations(pending, None, None)
    plan = pending.core.plan
    weight = Const((), (), plan.weight_shape)
    bias = None if pending.bias_zero else Const((), (), (plan.out_channels,))
    operation = _operation(weight, bias, plan.geometry, pending)
    return None if operation is None else (operation,)


def _operation(weight: Const, bias: Const | None, geometry: Geometry, pending: Pending) -> ir.Operation | None:
    if geometry.ndim:
        return ir.Conv(
            weight,
            bias,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
            geometry.padding_mode,
            geometry.transposed,
            geometry.output_padding,
        )
    last = len(pending.value.shape) - 1
    return ir.Linear(weight, bias) if pending.axis == last and geometry.groups == 1 else None


def _materialised(region: Region, alike: dict[Hashable, Replacement]) -> Replacement | Refusal:
    """The region's numbers; those of one that is alike, where there is one, so that they are written once."""
    rounded = stored_numbers(region.pending, region.output.dtype)
    if isinstance(rounded, Refusal):
        return rounded
    layers = [node for node in region.nodes if isinstance(node.operation, (ir.Conv, ir.Linear))]
    path = (layers or region.nodes)[-1].owner
    twin = alike.get(key := signature(region))
    if twin is not None and torch.equal(twin.weight, rounded.weight) and torch.equal(twin.bias, rounded.bias):
        return Replacement(region, path, twin.read_as, twin.weight, twin.bias)
    return alike.setdefault(key, Replacement(region, path, "operators of the graph", rounded.weight, rounded.bias))


def _rewritten(graph: Graph, replacements: Sequence[Replacement]) -> Graph:
    """The graph with the new operators where the last one of each region stood; all else is the same node objects."""
    consts: dict[int, Const] = {}  # by id(tensor): one constant for numbers that are written once
    standing = {id(part.region.output): part for part in replacements}
    gone = {id(node) for part in replacements for node in part.region.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node.output) in standing:
            nodes.extend(_nodes(standing[id(node.output)], consts))
        elif id(node) not in gone:
            nodes.append(node)
    return ir.live(Graph(graph.inputs, tuple(nodes), graph.outputs))


def _nodes(part: Replacement, consts: dict[int, Const]) -> Iterator[Node]:
    """The new operators; what lies between two of them is a value of its own."""
    operations = _written_operations(part, consts)
    value = part.region.input
    for number, operation in enumerate(operations):
        last = number == len(operations) - 1
        output = part.region.output if last else Value(value.shape, None, part.region.output.dtype)
        yield Node(operation, (value,), output, part.path, None)
        value = output


def _written_operations(part: Replacement, consts: dict[int, Const]) -> tuple[ir.Operation, ...]:
    pending, region = part.region.pending, part.region
    hints = _hints(region)
    if pending.core is None:
        widths = after_widths(pending)
        scale = _literal(part.weight.reshape(-1)[: widths[0]], hints["weight"])
        shift = consts.setdefault(id(part.bias), _literal(part.bias[: widths[1]], hints["bias"]))
        found = affine_operations(pending, scale, shift)
        assert found is not None
        return found
    bias = consts.setdefault(id(part.bias), _literal(part.bias, hints["bias"]))
    weight = consts.setdefault(id(part.weight), _literal(part.weight, hints["weight"]))
    operation = _operation(weight, None if pending.bias_zero else bias, pending.core.plan.geometry, pending)
    assert operation is not None
    return (operation,)


def _hints(region: Region) -> Mapping[str, tuple[str, ...]]:
    """Names of the constants whose place the new ones take."""
    layers = [node.operation for node in region.nodes if isinstance(node.operation, (ir.Conv, ir.Linear))]
    if layers:
        largest = max(layers, key=lambda layer: layer.weight.numel)
        return {"weight": largest.weight.paths[:1], "bias": largest.bias.paths[:1] if largest.bias else ()}
    paths = [const.paths[:1] for node in region.nodes for const in node.consts()]
    return {"weight": paths[0] if paths else (), "bias": paths[-1] if len(paths) > 1 else ()}


def _literal(tensor: Tensor, paths: tuple[str, ...]) -> Const:
    return Const((), paths, tuple(tensor.shape), None, tensor)
