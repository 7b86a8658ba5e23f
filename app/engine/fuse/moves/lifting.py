"""Maps behind a sum, a concatenation or a function that they commute with go before it: up to what takes them in.

- behind a concatenation along their dimension: a share of it goes behind each branch;
- behind a sum: the scale goes behind all branches, the shift behind the first;
- behind a function of one tensor: where its `Passage` says that the two may change places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.fuse.moves.maps import Map, before, map_of, new_node, passage_of
from app.engine.fuse.moves.move import Move
from app.engine.fuse.moves.readers import Readers
from app.engine.ir import graph as ir
from app.engine.ir.graph import Node, Value


def lifted(top: Node, readers: Readers, deep: bool) -> Move | None:
    """The maps that follow a node, before it; `deep`: sums, concatenations and pools above it are passed as well."""
    chain, one = _chain_behind(top, readers)
    if one is None:
        return None
    lift = _Lift(readers, deep)
    inputs = lift.inputs(top, one)
    if inputs is None:
        return None
    end = new_node(top, top.operation, inputs, chain[-1].output)
    return Move((top, *lift.gone, *chain), {id(chain[-1]): (*lift.nodes, end)}, tuple(lift.copies))


def _chain_behind(node: Node, readers: Readers) -> tuple[list[Node], Map | None]:
    """The maps along one dimension that follow a node one after the other, each its only reader; as one map."""
    chain: list[Node] = []
    found: Map | None = None
    reader = readers.only(node.output)
    while reader is not None and (longer := map_of([*chain, reader])) is not None:
        chain.append(reader)
        found = longer
        reader = readers.only(reader.output)
    return chain, found


@dataclass(slots=True)
class _Lift:
    """Collects what comes, in order, and what goes."""

    readers: Readers
    deep: bool
    nodes: list[Node] = field(default_factory=list)
    gone: list[Node] = field(default_factory=list)
    copies: list[Node] = field(default_factory=list)

    def inputs(self, node: Node, one: Map) -> tuple[Value, ...] | None:
        """What the node reads, with the map behind it; None where it can't be moved there."""
        shares = _shares(node, one)
        if shares is None:
            return None
        values: list[Value] = []
        for value, share in zip(node.inputs, shares, strict=True):
            mapped = self._value(value, node, share)
            if mapped is None:
                return None
            values.append(mapped)
        return tuple(values)

    def _value(self, value: Value, reader: Node, one: Map) -> Value | None:
        maker = self.readers.maker(value)
        if maker is None or self.readers.only(value) is not reader:
            return None
        if not self._is_passed(maker):
            return self._copied(value, one)
        inputs = self.inputs(maker, one)
        if inputs is None:
            return None
        node = new_node(maker, maker.operation, inputs, Value(value.shape, None, value.dtype))
        self.gone.append(maker)
        self.nodes.append(node)
        return node.output

    def _is_passed(self, maker: Node) -> bool:
        joins = (ir.Add, ir.Concat, ir.AvgPool)
        return isinstance(maker.operation, ir.Apply) or (self.deep and isinstance(maker.operation, joins))

    def _copied(self, value: Value, one: Map) -> Value:
        copies = list(one.nodes(value))
        self.nodes.extend(copies)
        self.copies.extend(copies)
        return copies[-1].output if copies else value


def _shares(node: Node, one: Map) -> Sequence[Map] | None:
    """The map for each input of a node; it is priced once."""
    operation, count = node.operation, len(node.inputs)
    if isinstance(operation, ir.Add):
        return [one, *[one.without_shift().priced(0)] * (count - 1)]
    if isinstance(operation, ir.Concat) and one.axis == operation.dim:
        return _parts(node, one)
    if isinstance(operation, ir.Concat):
        return [one, *[one.priced(0)] * (count - 1)]
    passage = passage_of(operation)
    moved = before(one, passage) if passage is not None and count == 1 else None
    return None if moved is None else [moved]


def _parts(node: Node, one: Map) -> list[Map]:
    assert one.axis is not None
    parts, start, total = [], 0, node.output.shape[one.axis]
    for value in node.inputs:
        width = value.shape[one.axis]
        parts.append(one.of(range(start, start + width)).priced(one.numbers * width // total))
        start += width
    return parts
