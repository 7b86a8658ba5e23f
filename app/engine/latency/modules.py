"""Module trees side by side, as graphs: what a loaded model computes, without its own code."""

from collections.abc import Callable, Iterator

import torch

from app.engine.forward.families import family_of
from app.engine.forward.family import Shapes
from app.engine.forward.trace import trace
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.units import Unit
from app.engine.ir.graph import Graph
from app.engine.ir.module import Module
from app.engine.latency.contest import Contest
from app.engine.latency.graphs import Both, of_graphs

# Height and width at which models are used: detectors, and most others.
_DETECTOR, _USUAL = 640, 224
_DETECTORS = ("YOLO", "DETR")


def contest_of_trees(
    before: Module, after: Module, shapes: Shapes, fixed: bool, dtype: torch.dtype, device: str
) -> Contest:
    """Two trees whose classes are described, followed anew for each batch size; `fixed` leaves the other sizes."""

    def found(batch: int) -> Both | None:
        for sizes in _sizes(before, shapes, fixed, batch):
            try:
                return Both(trace(before, sizes, family_of).graph, trace(after, sizes, family_of).graph)
            except UnknownFlow:
                continue
        return None

    return of_graphs(found, dtype, _name(dtype), device)


def contest_of_unit(unit: Unit, after: Callable[[], Graph], dtype: torch.dtype, device: str) -> Contest:
    """A model that was followed at one size; it is tried at other batch sizes as it is."""
    graph = unit.trace.graph

    def found(batch: int) -> Both | None:
        return Both(graph, after(), batch)

    return of_graphs(found, dtype, _name(dtype), device)


def _sizes(root: Module, shapes: Shapes, fixed: bool, batch: int) -> Iterator[Shapes]:
    """The sizes at which such models are used, then those at which this one was proved."""
    if not fixed and len(shapes) == 1 and len(shapes[0]) == 4:
        family = family_of(root)
        facts = family.facts(root) if family is not None and family.facts is not None else {}
        side = _DETECTOR if any(name in str(facts.get("family")) for name in _DETECTORS) else _USUAL
        yield ((batch, shapes[0][1], side, side),)
    yield tuple((batch, *shape[1:]) for shape in shapes)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
