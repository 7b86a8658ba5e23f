"""Values that have the same shape whatever the input: who wants to know the size of one may look at another."""

from collections.abc import Iterator

from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node, Value

_KEEPS_SHAPE = (ir.Scale, ir.Shift, ir.BatchNorm, ir.Add)


class Alike:
    """Looks along operations that keep the shape of what they read."""

    def __init__(self, graph: Graph) -> None:
        self._readers: dict[int, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self._readers.setdefault(id(value), []).append(node)

    def readers(self, value: Value) -> list[Node]:
        return self._readers.get(id(value), [])

    def of(self, value: Value) -> Iterator[Value]:
        """The value itself, then others of its shape, the nearest first."""
        seen, waiting = {id(value)}, [value]
        while waiting:
            found = waiting.pop(0)
            yield found
            above = found.node.inputs if found.node and isinstance(found.node.operation, _KEEPS_SHAPE) else ()
            below = [node.output for node in self.readers(found) if isinstance(node.operation, _KEEPS_SHAPE)]
            for near in (*above, *below):
                if id(near) not in seen:
                    seen.add(id(near))
                    waiting.append(near)
