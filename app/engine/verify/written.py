"""Whether the file that was written holds the convolutions that were proved, number for number."""

from collections import deque
from collections.abc import Sequence

import torch

from app.engine.interpret.lockstep import Fused
from app.engine.interpret.pending import geometry_of
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph

_Layer = ir.Conv | ir.Linear


def missing(graph: Graph, fused: Sequence[Fused]) -> Fused | None:
    """The first proved convolution that no layer of `graph` (the written file, read back) is; None if all are there."""
    layers: dict[tuple[int, ...], deque[_Layer]] = {}
    for node in graph.nodes:
        if isinstance(node.operation, (ir.Conv, ir.Linear)):
            layers.setdefault(node.operation.weight.shape, deque()).append(node.operation)
    for part in fused:
        alike = layers.get(tuple(part.weight.shape), deque())
        for _ in range(len(alike)):  # both are in the order of the graph: the first one is the likeliest
            if _holds(alike[0], part):
                break
            alike.rotate(-1)
        else:
            return part
        alike.popleft()
    return None


def _holds(layer: _Layer, part: Fused) -> bool:
    core = part.region.pending.core
    assert core is not None
    same = geometry_of(layer) == core.plan.geometry
    return same and _stored(layer.weight, part.weight) and _stored(layer.bias, part.bias)


def _stored(const: Const | None, tensor: torch.Tensor) -> bool:
    if const is None or const.compute is not None or const.literal is not None:
        return False
    found = const.sources[0].read()
    return found.dtype == tensor.dtype and torch.equal(found, tensor)
