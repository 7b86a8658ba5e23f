"""Moving per-channel maps to where convolutions can take them in, before anything is read: exact, and undone else.

- behind a concatenation: a share of it goes behind each branch;
- behind a sum: the scale goes behind both branches, the shift behind the first;
- before several convolutions or linears: each gets a copy.

A move stands only if every copy ends up within a replaced region, so that an operator is gone for good.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value


@dataclass(frozen=True, slots=True)
class Move:
    """Nodes of the graph that go, and for some of them, by id(node), the nodes that come where they stood."""

    gone: tuple[Node, ...]
    come: Mapping[int, tuple[Node, ...]]
    copies: tuple[Node, ...]  # those of the new nodes that have to be taken in by convolutions


Absorbed = Callable[[Graph], set[int]]  # ids of the nodes of a graph that would be in regions


def moved(graph: Graph, absorbed: Absorbed, may_go: Callable[[Sequence[Node]], bool]) -> Graph:
    """The graph with every move that pays; the same graph if there is none.

    `may_go` says whether the operators that some nodes come from can do without them.
    """
    moves = [move for move in _moves(graph) if may_go(move.gone)]
    while moves:
        trial = _applied(graph, moves)
        inside = absorbed(trial)
        kept = [move for move in moves if all(id(node) in inside for node in move.copies)]
        if len(kept) == len(moves):
            return trial
        moves = kept
    return graph


def _applied(graph: Graph, moves: Sequence[Move]) -> Graph:
    gone = {id(node) for move in moves for node in move.gone}
    come = {key: nodes for move in moves for key, nodes in move.come.items()}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(come.get(id(node), ()))
        if id(node) not in gone:
            nodes.append(node)
    return Graph(graph.inputs, tuple(nodes), graph.outputs)


@dataclass(slots=True)
class _Readers:
    """Who reads each value; an output of the graph is a reader that nothing can be moved to."""

    by_value: dict[int, list[Node | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> "_Readers":
        readers = cls()
        for node in graph.nodes:
            for value in node.inputs:
                readers.by_value.setdefault(id(value), []).append(node)
        for value in graph.output_values():
            readers.by_value.setdefault(id(value), []).append(None)
        return readers

    def of_value(self, value: Value) -> list[Node | None]:
        return self.by_value.get(id(value), [])

    def only(self, value: Value) -> Node | None:
        found = self.of_value(value)
        return found[0] if len(found) == 1 else None


def _moves(graph: Graph) -> Iterator[Move]:
    readers = _Readers.of(graph)
    taken: set[int] = set()
    for node in graph.nodes:
        move = _behind_join(node, readers) or _before_several(node, readers)
        if move is not None and not any(id(part) in taken for part in move.gone):
            taken.update(id(part) for part in move.gone)
            yield move


def _behind_join(node: Node, readers: _Readers) -> Move | None:
    if not isinstance(node.operation, (ir.Add, ir.Concat)) or len(node.inputs) < 2:
        return None
    if isinstance(node.operation, ir.Concat) and node.operation.dim != 1:
        return None
    chain = _chain_behind(node, readers)
    linear = all(readers.only(value) is node and _is_linear(value) for value in node.inputs)
    return _split(node, chain) if chain and linear else None


def _is_linear(value: Value) -> bool:
    return value.node is not None and not isinstance(value.node.operation, ir.Apply)


def _chain_behind(node: Node, readers: _Readers) -> list[Node]:
    """The per-channel maps over dimension 1 that follow a node one after the other, each its only reader."""
    chain: list[Node] = []
    reader = readers.only(node.output)
    while reader is not None and _acts_on_channels(reader):
        chain.append(reader)
        reader = readers.only(reader.output)
    return chain


def _acts_on_channels(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, ir.BatchNorm):
        return operation.mean is not None and operation.var is not None
    if isinstance(operation, (ir.Scale, ir.Shift)):
        part = operation.factor if isinstance(operation, ir.Scale) else operation.offset
        return part.numel == 1 or operation.axis % len(node.output.shape) == 1
    return False


def _split(join: Node, chain: Sequence[Node]) -> Move:
    """The join behind the chain instead of before it."""
    start, branches, copies = 0, [], []
    total = join.output.shape[1]
    for index, value in enumerate(join.inputs):
        share = value.shape[1] if isinstance(join.operation, ir.Concat) else total
        rows = slice(start, start + share) if isinstance(join.operation, ir.Concat) else slice(None)
        start += share if isinstance(join.operation, ir.Concat) else 0
        shifted = index == 0 or isinstance(join.operation, ir.Concat)
        branch = value
        for part in chain:
            for operation in _of_rows(part.operation, rows, total, share, shifted):
                copy = _copy(part, operation, branch)
                copies.append(copy)
                branch = copy.output
        branches.append(branch)
    end = Node(join.operation, tuple(branches), chain[-1].output, join.owner, join.scope)
    return Move((join, *chain), {id(chain[-1]): (*copies, end)}, tuple(copies))


def _copy(part: Node, operation: ir.Operation, x: Value) -> Node:
    return Node(operation, (x,), Value(x.shape, None, x.dtype), part.owner, part.scope)


def _of_rows(operation: ir.Operation, rows: slice, total: int, share: int, shifted: bool) -> Iterator[ir.Operation]:
    """The map on some channels; without its shift if that goes elsewhere."""
    match operation:
        case ir.Scale():
            yield replace(operation, factor=_rows(operation.factor, rows, total, share))
        case ir.Shift() if shifted:
            yield replace(operation, offset=_rows(operation.offset, rows, total, share))
        case ir.BatchNorm() if shifted:
            yield _norm(operation, lambda const: _rows(const, rows, total, share))
        case ir.BatchNorm():
            yield ir.Scale(_gain(operation), 1)


def _rows(const: Const, rows: slice, total: int, share: int) -> Const:
    if const.numel == 1 or rows == slice(None):
        return replace(const, numbers=const.numel)

    def compute(*parts: Tensor) -> Tensor:
        whole = parts[0] if const.compute is None else const.compute(*parts)
        return whole.reshape(-1)[rows]

    if const.literal is not None:
        return Const((), const.paths, (share,), None, const.literal.reshape(-1)[rows], const.varies)
    return Const(const.sources, const.paths, (share,), compute, None, const.varies, const.numel * share // total)


def _gain(norm: ir.BatchNorm) -> Const:
    """The scale of a norm, as an expression over what it reads; it is priced where the shift goes."""
    assert norm.var is not None
    parts = [const for const in (norm.var, norm.weight) if const is not None]
    counts = [len(const.sources) for const in parts]

    def compute(*sources: Tensor) -> Tensor:
        values, at = [], 0
        for const, count in zip(parts, counts, strict=True):
            own = sources[at : at + count]
            at += count
            values.append(own[0] if const.compute is None else const.compute(*own))
        gain = (values[0] + norm.eps).rsqrt()
        return gain if len(values) == 1 else gain * values[1]

    sources = tuple(source for const in parts for source in const.sources)
    paths = tuple(path for const in parts for path in const.paths)
    if any(const.literal is not None for const in parts):
        numbers = [const.value(torch.float64) for const in parts]
        literal = (numbers[0] + norm.eps).rsqrt() * (numbers[1] if len(numbers) > 1 else 1)
        return Const((), paths, norm.var.shape, None, literal, numbers=0)
    return Const(sources, paths, norm.var.shape, compute, numbers=0)


def _before_several(node: Node, readers: _Readers) -> Move | None:
    """A map that ends at this node and is read by several convolutions or linears: one copy for each."""
    found = readers.of_value(node.output)
    targets = [reader for reader in found if reader is not None]
    absorbs = all(isinstance(reader.operation, (ir.Conv, ir.Linear)) for reader in targets)
    if len(targets) < 2 or len(targets) < len(found) or not absorbs or not _is_affine(node):
        return None
    chain = [node]
    while (
        (above := chain[0].inputs[0].node) is not None
        and _is_affine(above)
        and len(readers.of_value(above.output)) == 1
    ):
        chain.insert(0, above)
    copies: list[Node] = []
    come: dict[int, tuple[Node, ...]] = {}
    for reader in targets:
        own, x = [], chain[0].inputs[0]
        for part in chain:
            own.append(_copy(part, _shared(part.operation, len(targets)), x))
            x = own[-1].output
        copies.extend(own)
        come[id(reader)] = (*own, Node(reader.operation, (x,), reader.output, reader.owner, reader.scope))
    return Move((*chain, *targets), come, tuple(copies))


def _is_affine(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, ir.BatchNorm):
        return operation.mean is not None and operation.var is not None
    return isinstance(operation, (ir.Scale, ir.Shift))


def _shared(operation: ir.Operation, count: int) -> ir.Operation:
    """The same map, its numbers priced once for all copies."""

    def priced(const: Const) -> Const:
        return replace(const, numbers=const.numel // count)

    match operation:
        case ir.Scale():
            return replace(operation, factor=priced(operation.factor))
        case ir.Shift():
            return replace(operation, offset=priced(operation.offset))
        case ir.BatchNorm():
            return _norm(operation, priced)
    return operation


def _norm(norm: ir.BatchNorm, change: Callable[[Const], Const]) -> ir.BatchNorm:
    mean, var, weight, bias = (part and change(part) for part in (norm.mean, norm.var, norm.weight, norm.bias))
    return ir.BatchNorm(mean, var, weight, bias, norm.eps)
