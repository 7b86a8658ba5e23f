"""Multiply-adds of a graph before and after, by shapes alone: what is not linear is the same and counts nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.engine.fuse.replacement import Replacement
from app.engine.interpret.pending import node_cost
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node

_COUNTED = (ir.Conv, ir.Linear, ir.BatchNorm, ir.Scale, ir.AvgPool)


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a whole graph."""

    before: int
    after: int


def of_node(node: Node) -> int:
    """A shift only adds, and a bias counts nowhere."""
    return node_cost(node).multiply_adds if isinstance(node.operation, _COUNTED) else 0


def totals(graph: Graph, replacements: Sequence[Replacement]) -> Totals:
    """Of the graph as it is, and with the replacements made."""
    before = sum(map(of_node, graph.nodes))
    gone = sum(of_node(node) for part in replacements for node in part.region.nodes)
    return Totals(before, before - gone + sum(part.multiply_adds for part in replacements))


def by_owner(nodes: Iterable[Node]) -> dict[str, int]:
    """Summed by the module or operator that the nodes come from."""
    found: dict[str, int] = {}
    for node in nodes:
        found[node.owner] = found.get(node.owner, 0) + of_node(node)
    return found


def kept(graph: Graph, replacements: Sequence[Replacement]) -> Iterator[Node]:
    """The nodes that no replacement takes in."""
    gone = {id(node) for part in replacements for node in part.region.nodes}
    return (node for node in graph.nodes if id(node) not in gone)
