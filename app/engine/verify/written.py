"""Whether the file that was written holds the convolutions that were proved, number for number."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch

from app.engine.algebra import Geometry
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
        if part.region.pending.core is None:  # a scale and a shift: what they do is seen end to end
            continue
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
    if not _is_window(geometry_of(layer), core.plan.geometry) or not _is(layer.weight, part.weight):
        return False
    if layer.bias is not None:
        return _is(layer.bias, part.bias)
    # A graph file says nothing where there is no bias, or adds it in an operator of its own.
    return not bool(part.bias.any()) or isinstance(layer, ir.Linear)


def _is_window(found: Geometry, proved: Geometry) -> bool:
    """Whether a layer looks where the proved convolution does; one whose format pads evenly is padded before it."""
    uneven = any(begin != end for begin, end in proved.padding)
    before = replace(proved, padding=((0, 0),) * len(proved.padding)) if uneven else proved
    return found in (proved, before)


def _is(const: Const, tensor: torch.Tensor) -> bool:
    """Whether the constant is the tensor, number for number, in the same dtype; a graph file may hold it transposed."""
    if const.literal is not None or const.stored_dtype != tensor.dtype:
        return False
    return torch.equal(const.value(None), tensor)
