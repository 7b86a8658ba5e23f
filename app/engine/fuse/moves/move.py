"""One rearrangement of a graph: what goes, what comes, and what has to be taken in for it to pay."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class Move:
    """Nodes of the graph that go, and for some of them, by id(node), the nodes that come where they stood."""

    gone: tuple[Node, ...]
    come: Mapping[int, tuple[Node, ...]]
    copies: tuple[Node, ...]  # those of the new nodes that have to be taken in by convolutions

    @property
    def passes(self) -> bool:
        """Whether operations are written anew that no convolution takes in."""
        return any(isinstance(node.operation, (ir.Apply, ir.AvgPool)) for node in self.gone)

    def loses(self, values: Container[int]) -> bool:
        """Whether one of these values, by id, is in the graph no more, or may be within a convolution then."""
        come = {id(node.output) for nodes in self.come.values() for node in nodes}
        gone = {id(node.output) for node in self.gone} - come
        inside = {id(value) for node in self.copies for value in node.inputs if value.node is not None}
        return any(value in values for value in gone | inside)


def applied(graph: Graph, moves: Sequence[Move]) -> Graph:
    gone = {id(node) for move in moves for node in move.gone}
    come = {key: nodes for move in moves for key, nodes in move.come.items()}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(come.get(id(node), ()))
        if id(node) not in gone:
            nodes.append(node)
    return Graph(graph.inputs, tuple(nodes), graph.outputs)
