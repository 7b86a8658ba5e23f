"""One convolution in the place of a region: its stored weights, what it replaces, and why it may have to stay away."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.engine.algebra import Geometry, Refusal, Rounded
from app.engine.fuse.layers import layer_name
from app.engine.fuse.scales import affine_cost, affine_operations
from app.engine.interpret.affine import Cut, Region
from app.engine.interpret.pending import Pending
from app.engine.ir import graph as ir
from app.engine.ir.graph import Node


@dataclass(frozen=True, slots=True)
class Replacement:
    """One convolution, or a lone scale and shift, with its stored weights, in the place of a region."""

    region: Region
    path: str  # the block, or the layer or operator that becomes the convolution
    read_as: str
    weight: Tensor
    bias: Tensor
    location: str = "cpu"  # the device that torch.load puts the original's weights on

    @property
    def geometry(self) -> Geometry:
        core = self.region.pending.core
        assert core is not None
        return core.plan.geometry

    @property
    def before(self) -> tuple[str, ...]:
        return tuple(_operator(node) for node in self.region.nodes)

    @property
    def after(self) -> str:
        standing = self._scales()
        if standing is None:
            return layer_name(tuple(self.weight.shape), self.geometry)
        widths = [max(const.numel for const in ir.consts_of(operation)) for operation in standing]
        names = [type(operation).__name__ for operation in standing]
        return ", ".join(f"{name}({width})" for name, width in zip(names, widths, strict=True))

    @property
    def parameters(self) -> int:
        standing = self._scales()
        if standing is None:
            return self.weight.numel() + (0 if self.region.pending.bias_zero else self.bias.numel())
        return affine_cost(self.region.pending, standing).parameters

    @property
    def multiply_adds(self) -> int:
        """What it multiplies at the traced shape; a shift only adds."""
        pending, standing = self.region.pending, self._scales()
        if standing is None:
            return pending.fused_cost.multiply_adds
        return sum(not isinstance(one, ir.Shift) for one in standing) * prod(pending.value.shape)

    def _scales(self) -> tuple[ir.Operation, ...] | None:
        """What stands there if it is no convolution."""
        pending = self.region.pending
        return affine_operations(pending, None, None) if pending.core is None else None


def _operator(node: Node) -> str:
    operation = node.operation
    if isinstance(operation, ir.Conv):
        kernel = "x".join(map(str, operation.weight.shape[2:]))
        return f"{'ConvTranspose' if operation.transposed else 'Conv'} {kernel}{_computed(operation.weight)}"
    return f"{type(operation).__name__}{_computed(operation.weight) if isinstance(operation, ir.Linear) else ''}"


def _computed(weight: ir.Const) -> str:
    return " with a computed weight" if weight.made else ""


def withheld(replacement: Replacement, code: str, reason: str) -> Iterator[Cut]:
    """The reason for each norm, scale and shift that stays if the replacement is not made."""
    return (Cut(node.owner, code, reason) for node in foldable(replacement.region))


def foldable(region: Region) -> Iterator[Node]:
    """The nodes of a region that a user would miss in it: norms, scales, shifts, or else its last one."""
    kinds = (ir.BatchNorm, ir.Scale, ir.Shift)
    found = [node for node in region.nodes if isinstance(node.operation, kinds)]
    yield from found or region.nodes[-1:]


def stored_numbers(pending: Pending, dtype: torch.dtype) -> Rounded | Refusal:
    """Weight and bias in `dtype`; a Refusal, with the numbers, where it can't hold them."""
    rounded = pending.rounded(dtype)
    if isinstance(rounded, Refusal):
        return rounded
    return _coarse(rounded.weight) or rounded


def _coarse(weight: Tensor) -> Refusal | None:
    """Below its smallest normal number a dtype counts in steps: a whole layer there has lost its digits."""
    smallest = torch.finfo(weight.dtype).tiny
    if weight.numel() == 0:
        return None
    for part in (weight[:1], weight):  # the first row tells of nearly every layer that it is fine
        lowest, highest = torch.aminmax(part)
        largest = float(torch.maximum(highest, -lowest))
        if largest >= smallest:
            return None
    if largest == 0.0:
        return None
    name = str(weight.dtype).removeprefix("torch.")
    return Refusal("underflow", f"the largest weight is {largest:.4g}, below {smallest:.4g} {name} has few digits left")
