"""Which operators of a file stay, which go, and where the new ones stand, by the graph that is to be written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.engine.ir.exported import Exported, Operator
from app.engine.ir.graph import Apply, Graph, Node, Value, live
from app.engine.ir.program import Program

Fate = Literal["stays", "goes", "reduced"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the file as it stands (reduced: without its affine part), or one new operation."""

    operator: Operator | None
    node: Node | None
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(slots=True)
class Names:
    """The file's names of values, and new ones for those that have none."""

    known: dict[int, str]
    used: set[str]
    _held: list[Value] = field(default_factory=list)

    def of(self, value: Value, like: str) -> str:
        """The name of a value; a new one begins with `like`."""
        if id(value) not in self.known:
            self._held.append(value)
            self.known[id(value)] = self.fresh(like)
        return self.known[id(value)]

    def fresh(self, like: str) -> str:
        number, name = 0, like
        while name in self.used:
            number += 1
            name = f"{like}_{number}"
        self.used.add(name)
        return name


def steps_of(exported: Exported, program: Program, graph: Graph, names: Names) -> list[Step]:
    """Everything that is to be written, in order."""
    planner = _Planner(exported, program, graph, names)
    fresh = list(planner.fresh())
    given = {name for _, step in fresh for name in step.writes}
    standing = [pair for pair in planner.standing() if not given & set(pair[1].writes)]
    return [step for _, step in sorted([*standing, *fresh], key=lambda pair: pair[0])]


class _Planner:
    """Places steps: by the position of the operator in the file, then in the order of the graph."""

    def __init__(self, exported: Exported, program: Program, graph: Graph, names: Names) -> None:
        self._operators, self._names, self._graph = exported.graph.nodes, names, graph
        self._position = {operator.owner: index for index, operator in enumerate(self._operators)}
        self._written = {
            output.name: index
            for index, operator in enumerate(self._operators)
            for output in operator.outputs
            if output is not None
        }
        original = {id(node) for node in program.graph.nodes}
        self._kept = {id(node) for node in graph.nodes if id(node) in original}
        self._producer = {id(node.output): node for node in program.graph.nodes}
        self._fates = _fates(program, self._kept)
        self._new = {id(node) for node in graph.nodes if id(node) not in original}

    def standing(self) -> Iterable[tuple[tuple[int, int], Step]]:
        """The operators that stay as they are, and those of which the file computes nothing that is in the graph."""
        for index, operator in enumerate(self._operators):
            if self._fates.get(operator.owner, "stays") == "stays":
                reads = tuple(ref.name for ref in operator.reads())
                writes = tuple(output.name for output in operator.outputs if output is not None)
                yield (index, 0), Step(operator, None, reads, writes)

    def fresh(self) -> Iterable[tuple[tuple[int, int], Step]]:
        """New operations, and what is left of operators of which a part is taken elsewhere."""
        pending: list[Node] = []
        for order, node in enumerate(self._graph.nodes, start=1):
            if id(node) in self._new:
                pending.append(node)
                if id(node.output) in self._producer:
                    where = self._first(node.output, pending)
                    yield from (((where, order), self._step(one)) for one in pending)
                    pending = []
            elif self._fates[node.owner] == "reduced":
                yield (self._position[node.owner], order), self._rest(node)

    def _step(self, node: Node) -> Step:
        reads = tuple(self._names.of(value, node.owner) for value in node.inputs)
        return Step(None, node, reads, (self._names.of(node.output, f"{node.owner}_part"),))

    def _rest(self, node: Node) -> Step:
        if not isinstance(node.operation, Apply):
            return self._step(node)
        operator = self._operators[self._position[node.owner]]
        reads = tuple(self._names.of(value, node.owner) for value in node.inputs)
        return Step(operator, node, reads, (self._names.of(node.output, f"{node.owner}_normalized"),))

    def _first(self, output: Value, group: list[Node]) -> int:
        """Where the first operator stood whose place the group takes.

        There its inputs are known, and nothing has been written into them yet that was written after they were read.
        """
        made = {id(node.output) for node in group}
        sources = {id(value): value for node in group for value in node.inputs if id(value) not in made}
        first = min(self._position[node.owner] for node in self._replaced(output, set(sources)))
        known = max((self._index(value) for value in sources.values()), default=-1)
        return max(first, known)

    def _replaced(self, output: Value, sources: set[int]) -> list[Node]:
        """The nodes that are gone between the sources and the output."""
        found: dict[int, Node] = {}
        stack = [output]
        while stack:
            value = stack.pop()
            node = self._producer.get(id(value))
            if node is None or id(node) in found or id(node) in self._kept:
                continue
            found[id(node)] = node
            stack.extend(inner for inner in node.inputs if id(inner) not in sources)
        return list(found.values())

    def _index(self, value: Value) -> int:
        """The position from which on a value is known under its name."""
        node = self._producer.get(id(value))
        named = self._written.get(self._names.known.get(id(value), ""), -1)
        return named if node is None else max(named, self._position[node.owner])


def _fates(program: Program, kept: set[int]) -> Mapping[str, Fate]:
    """By owner. Nodes that nobody reads count for nothing: the rewritten graph may lack them."""
    needed = {id(node) for node in live(program.graph).nodes}
    nodes: dict[str, list[Node]] = {}
    for node in program.graph.nodes:
        nodes.setdefault(node.owner, []).append(node)
    return {owner: _fate(owned, kept, needed) for owner, owned in nodes.items()}


def _fate(owned: list[Node], kept: set[int], needed: set[int]) -> Fate:
    if not any(id(node) in kept for node in owned):
        return "goes" if any(id(node) in needed for node in owned) else "stays"
    return "stays" if all(id(node) in kept for node in owned if id(node) in needed) else "reduced"
