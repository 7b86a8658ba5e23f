"""The lockstep reading: original and fused computation side by side in float64, compared wherever a region ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.engine.interpret.affine import Region
from app.engine.interpret.numeric import convolve, evaluate, exact, outputs_of, reader
from app.engine.ir.graph import Graph, Node, readers
from app.engine.verify.compare import relative_error


@dataclass(frozen=True, slots=True)
class Fused:
    """A region and the weights that are stored for it."""

    region: Region
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class RegionProof:
    """Largest relative error of a region's output, worst channel, on the original's own activations."""

    identity: float  # float64, before rounding
    native: float  # stored weights, in the native dtype


@dataclass(frozen=True, slots=True)
class Proof:
    """What one walk shows: the original's outputs in float64, how far the unrounded fused model's lie, each region."""

    outputs: Any
    identity: float
    regions: tuple[RegionProof, ...]  # in the order of the fused regions given


def prove(graph: Graph, fused: Sequence[Fused], inputs: Sequence[Tensor], native: torch.dtype, device: str) -> Proof:
    """Walk the graph once, each value as (original, fused): every region is proved on the model's own activations."""
    walk = _Walk(graph, {id(part.region.output): part for part in fused}, native, device)
    with torch.no_grad(), exact():
        original, changed = walk.run(inputs)
    outputs = outputs_of(graph, original)
    error = relative_error(outputs_of(graph, changed), outputs)
    return Proof(outputs, error, tuple(walk.proofs[id(part.region.output)] for part in fused))


class _Walk:
    def __init__(self, graph: Graph, fused: Mapping[int, Fused], native: torch.dtype, device: str) -> None:
        self.graph, self.fused, self.native, self.device = graph, fused, native, device
        self.read = reader(torch.float64, device)
        self.proofs: dict[int, RegionProof] = {}
        inner = {id(node.output) for part in fused.values() for node in part.region.nodes}
        self.inner = inner - set(fused)

    def run(self, inputs: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        left = readers(self.graph)
        for part in self.fused.values():  # a region reads its input once more, when its output is reached
            left[id(part.region.input)] += 1
        start = {
            id(value): tensor.to(device=self.device, dtype=torch.float64 if tensor.is_floating_point() else None)
            for value, tensor in zip(self.graph.inputs, inputs, strict=True)
        }
        original, changed = dict(start), dict(start)
        for node in self.graph.nodes:
            self._step(node, original, changed)
            done = [
                *node.inputs,
                *([self.fused[id(node.output)].region.input] if id(node.output) in self.fused else []),
            ]
            for value in done:
                left[id(value)] -= 1
                if left[id(value)] == 0:
                    original.pop(id(value), None)
                    changed.pop(id(value), None)
        return original, changed

    def _step(self, node: Node, original: dict[int, Tensor], changed: dict[int, Tensor]) -> None:
        key = id(node.output)
        original[key] = evaluate(node, [original[id(v)] for v in node.inputs], self.read)
        if key in self.fused:
            changed[key] = self._region(self.fused[key], original, changed)
        elif key not in self.inner:
            changed[key] = self._same(node, original, changed)

    def _same(self, node: Node, original: dict[int, Tensor], changed: dict[int, Tensor]) -> Tensor:
        """An operation outside all regions; computed once while nothing above it was replaced."""
        if all(original[id(v)] is changed[id(v)] for v in node.inputs):
            return original[id(node.output)]
        return evaluate(node, [changed[id(v)] for v in node.inputs], self.read)

    def _region(self, part: Fused, original: dict[int, Tensor], changed: dict[int, Tensor]) -> Tensor:
        region = part.region
        source, key = id(region.input), id(region.output)
        conv = region.pending.convolution()
        weight, bias = conv.weight.to(self.device), conv.bias.to(self.device)
        same = original[source] is changed[source]
        alone = _along(convolve, original[source], weight, bias, conv.geometry, region)
        stored = [tensor.to(device=self.device, dtype=self.native) for tensor in (part.weight, part.bias)]
        native = _along(convolve, original[source].to(self.native), stored[0], stored[1], conv.geometry, region)
        reference = original[key]
        self.proofs[key] = RegionProof(relative_error(alone, reference), relative_error(native, reference))
        return alone if same else _along(convolve, changed[source], weight, bias, conv.geometry, region)


def _along(function: Any, x: Tensor, weight: Tensor, bias: Tensor, geometry: Any, region: Region) -> Tensor:
    """A Linear acts on the region's own channel dimension."""
    if weight.ndim == 2:
        moved = x.movedim(region.pending.axis, 1) if x.ndim > 1 else x
        result: Tensor = function(moved, weight, bias, geometry).movedim(1, region.pending.axis)
        return result
    convolved: Tensor = function(x, weight, bias, geometry)
    return convolved
