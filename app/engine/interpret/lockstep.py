"""The lockstep reading: original and fused computation side by side in float64, compared wherever a region ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from app.engine.algebra import Geometry
from app.engine.interpret.affine import Region
from app.engine.interpret.exact import exact
from app.engine.interpret.numeric import convolve, evaluate, outputs_of, reader, run
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
    """Largest relative error of a region's output, worst channel, on the original's own activations.

    `rounding` holds the numbers themselves: the largest deviation of a stored one from the exact one, as a share of
    what rounding once may do. With it a scale of 1e-6 behind the region hides nothing.
    """

    identity: float  # float64, before rounding
    native: float  # stored weights, in the native dtype
    rounding: float  # at most 1 if the stored numbers are the exact ones, rounded


@dataclass(frozen=True, slots=True)
class Proof:
    """What one walk shows: the original's outputs in float64, how far the unrounded fused model's lie, each region."""

    outputs: Any
    identity: float
    regions: tuple[RegionProof, ...]  # in the order of the fused regions given


def prove(
    graph: Graph,
    fused: Sequence[Fused],
    inputs: Sequence[Tensor],
    native: torch.dtype,
    device: str,
    original_graph: Graph | None = None,
) -> Proof:
    """Walk the graph once, each value as (original, fused): every region is proved on the model's own activations.

    Where the graph is a rearrangement of another, its outputs are held to those of that one.
    """
    walk = _Walk(graph, {id(part.region.output): part for part in fused}, native, device)
    with torch.no_grad(), exact(device):
        original, changed = walk.run(inputs)
    outputs = outputs_of(graph, original)
    if original_graph is not None and original_graph is not graph:
        outputs = run(original_graph, inputs, torch.float64, device)
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
        region, key = part.region, id(part.region.output)
        conv = region.pending.convolution()
        exact_numbers = (conv.weight.to(self.device), conv.bias.to(self.device))
        x, reference = self._telling(region, original)
        alone = _fused(x, exact_numbers, conv.geometry, region)
        stored = (part.weight.to(self.device, self.native), part.bias.to(self.device, self.native))
        native = _fused(x.to(self.native), stored, conv.geometry, region)
        self.proofs[key] = RegionProof(
            relative_error(alone, reference),
            relative_error(native, reference),
            max(_rounding(part.weight, conv.weight), _rounding(part.bias, conv.bias)),
        )
        before = changed[id(region.input)]
        return alone if before is x else _fused(before, exact_numbers, conv.geometry, region)

    def _telling(self, region: Region, original: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The region's input and output; noise stands in for channels that say nothing: all zero, NaN or infinite."""
        x = original[id(region.input)]
        others = [dim for dim in range(x.ndim) if dim != region.pending.axis]
        size = x.abs().amax(others, keepdim=True)
        silent = ~(size.isfinite() & (size > 0))
        if not bool(silent.any()):
            return x, original[id(region.output)]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(self.device)
        values = {id(region.input): torch.where(silent, noise * _largest(size), x)}
        for node in region.nodes:
            values[id(node.output)] = evaluate(node, [values[id(value)] for value in node.inputs], self.read)
        return values[id(region.input)], values[id(region.output)]


def _largest(size: Tensor) -> float:
    """The largest finite number, 1 if there is none but zero."""
    return float(torch.where(size.isfinite(), size, 0).max()) or 1.0


def _fused(x: Tensor, numbers: tuple[Tensor, Tensor], geometry: Geometry, region: Region) -> Tensor:
    """The region's convolution; a Linear acts on the region's own channel dimension."""
    weight, bias = numbers
    if region.pending.core is None:  # a scale and a shift
        along = [-1 if dim == region.pending.axis else 1 for dim in range(x.ndim)]
        return x * weight.reshape(along) + bias.reshape(along)
    if weight.ndim == 2:
        axis = region.pending.axis
        return linear(x.movedim(axis, -1), weight, bias).movedim(-1, axis)
    return convolve(x, weight, bias, geometry)


def _rounding(stored: Tensor, exact_numbers: Tensor) -> float:
    """The largest deviation, as a share of one ulp of the dtype or 1e-12 of the largest number."""
    limits = torch.finfo(stored.dtype)
    size = exact_numbers.abs()
    if size.numel() == 0:
        return 0.0
    allowed = size.clamp_min(limits.tiny) * limits.eps + 1e-12 * size.amax()
    share = ((stored.to(torch.float64) - exact_numbers).abs() / allowed).max()
    return float(share) if bool(share.isfinite()) else inf
