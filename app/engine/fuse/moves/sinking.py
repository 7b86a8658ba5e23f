"""Maps before several operations, or a function they commute with, go behind: a copy to each that takes it in."""

from dataclasses import dataclass, field, replace

from app.engine.fuse.moves.maps import Map, behind, map_of, new_node, passage_of
from app.engine.fuse.moves.move import Move
from app.engine.fuse.moves.readers import Readers
from app.engine.ir import graph as ir
from app.engine.ir.graph import Node, Value


def sunk(node: Node, readers: Readers, deep: bool) -> Move | None:
    """The maps that end at this node, before all that read them; `deep`: pools are passed as well."""
    one, chain = _chain_before(node, readers)
    if one is None:
        return None
    sink = _Sink(readers, deep)
    if not sink.spread(node.output, chain[0].inputs[0], one) or len(sink.ends) + len(sink.gone) < 2:
        return None
    return sink.move(chain)


def _chain_before(node: Node, readers: Readers) -> tuple[Map | None, list[Node]]:
    """The maps along one dimension that end here, each the only reader of the one before it; as one map."""
    chain, found = [node], map_of([node])
    while found is not None:
        above = readers.maker(chain[0].inputs[0])
        longer = map_of([above, *chain]) if above is not None and readers.only(above.output) is chain[0] else None
        if above is None or longer is None:
            break
        chain.insert(0, above)
        found = longer
    return found, chain


@dataclass(slots=True)
class _End:
    """An operation that reads mapped values: by id(value) what it reads instead, and the map to be put between."""

    node: Node
    reads: dict[int, tuple[Value, Map]] = field(default_factory=dict)


@dataclass(slots=True)
class _Sink:
    readers: Readers
    deep: bool
    ends: dict[int, _End] = field(default_factory=dict)
    gone: list[Node] = field(default_factory=list)  # what is passed
    come: dict[int, tuple[Node, ...]] = field(default_factory=dict)

    def spread(self, value: Value, plain: Value, one: Map) -> bool:
        """Carry the map to every reader of `value`, which is `plain` with the map; False where one can't be reached."""
        return all(self._reach(reader, value, plain, one) for reader in self.readers.of_value(value))

    def _reach(self, reader: Node | None, value: Value, plain: Value, one: Map) -> bool:
        if reader is None:
            return False
        if not self._is_passed(reader):
            self.ends.setdefault(id(reader), _End(reader)).reads[id(value)] = plain, one
            return True
        passage = passage_of(reader.operation)
        moved = behind(one, passage) if passage is not None and len(reader.inputs) == 1 else None
        if moved is None:
            return False
        passed = new_node(reader, reader.operation, (plain,), Value(reader.output.shape, None, reader.output.dtype))
        self.gone.append(reader)
        self.come[id(reader)] = (passed,)
        return self.spread(reader.output, passed.output, moved)

    def _is_passed(self, reader: Node) -> bool:
        return isinstance(reader.operation, ir.Apply) or (self.deep and isinstance(reader.operation, ir.AvgPool))

    def move(self, chain: list[Node]) -> Move:
        """The move; the map is priced once for all its copies."""
        copies: list[Node] = []
        count = sum(len(end.reads) for end in self.ends.values())
        for key, end in self.ends.items():
            own, mapped = [], {}
            for old, (plain, one) in end.reads.items():
                made = list(replace(one, numbers=one.numbers // count).nodes(plain))
                own.extend(made)
                mapped[old] = made[-1].output if made else plain
            inputs = tuple(mapped.get(id(value), value) for value in end.node.inputs)
            copies.extend(own)
            self.come[key] = (*own, new_node(end.node, end.node.operation, inputs, end.node.output))
        gone = (*chain, *self.gone, *(end.node for end in self.ends.values()))
        return Move(gone, self.come, tuple(copies))
