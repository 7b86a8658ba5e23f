"""Who makes and who reads the values of a graph."""

from dataclasses import dataclass, field

from app.engine.ir.graph import Graph, Node, Value


@dataclass(slots=True)
class Readers:
    """Who makes and who reads each value; an output of the graph is a reader that nothing can be moved to."""

    makers: dict[int, Node] = field(default_factory=dict)
    by_value: dict[int, list[Node | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> "Readers":
        readers = cls()
        for node in graph.nodes:
            readers.makers[id(node.output)] = node
            for value in node.inputs:
                readers.by_value.setdefault(id(value), []).append(node)
        for value in graph.output_values():
            readers.by_value.setdefault(id(value), []).append(None)
        return readers

    def maker(self, value: Value) -> Node | None:
        return self.makers.get(id(value))

    def of_value(self, value: Value) -> list[Node | None]:
        return self.by_value.get(id(value), [])

    def only(self, value: Value) -> Node | None:
        found = self.of_value(value)
        return found[0] if len(found) == 1 else None
