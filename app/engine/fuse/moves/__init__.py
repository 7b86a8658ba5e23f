"""Moving per-channel maps to where convolutions can take them in, before anything is read: exact, and undone else.

A move stands only if every copy ends up within a replaced region, so that an operator is gone for good.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from app.engine.fuse.moves.lifting import lifted
from app.engine.fuse.moves.move import Move, applied
from app.engine.fuse.moves.readers import Readers
from app.engine.fuse.moves.sinking import sunk
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node

__all__ = ["Move", "moved"]

Absorbed = Callable[[Graph], set[int]]  # ids of the nodes of a graph that would be in regions
_MAPS: Final = (ir.BatchNorm, ir.Scale, ir.Shift)
_ROUNDS: Final = 3  # what one move makes possible is found in the next round


def moved(graph: Graph, absorbed: Absorbed, may_go: Callable[[Move], bool]) -> Graph:
    """The graph with every move that pays; the same graph if there is none. `may_go` has a say in each."""
    for _ in range(_ROUNDS):
        before = graph
        for deep in (False, True):
            graph = _round(graph, absorbed, may_go, deep)
        if graph is before:
            break
    return graph


def _round(graph: Graph, absorbed: Absorbed, may_go: Callable[[Move], bool], deep: bool) -> Graph:
    """Every move at once, then without those that do not pay: what they were in the way of has its turn."""
    vain: set[int] = set()
    while moves := dict(_moves(graph, may_go, deep, vain)):
        trial = applied(graph, list(moves.values()))
        inside = absorbed(trial)
        lost = {key for key, move in moves.items() if any(id(node) not in inside for node in move.copies)}
        if not lost:
            return trial
        vain |= lost
    return graph


def _moves(graph: Graph, may_go: Callable[[Move], bool], deep: bool, vain: set[int]) -> Iterator[tuple[int, Move]]:
    """Moves that do not meet, by id of the node that each starts from; none that was tried in vain."""
    readers = Readers.of(graph)
    taken: set[int] = set()
    for node in graph.nodes:
        if id(node) in vain:
            continue
        move = sunk(node, readers, deep) if isinstance(node.operation, _MAPS) else lifted(node, readers, deep)
        if move is not None and may_go(move) and not _meets(taken, move.gone):
            taken.update(id(part) for part in move.gone)
            yield id(node), move


def _meets(taken: set[int], nodes: Sequence[Node]) -> bool:
    return any(id(node) in taken for node in nodes)
