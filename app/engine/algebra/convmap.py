"""The values of the algebra: a convolution, its geometry, an affine map, a price, a refusal. No identities here."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An identity does not hold here: a stable code and a sentence that a user reads."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a convolution looks: everything but its numbers, one entry for each spatial dimension.

    No dimensions is the Linear case, acting on the channel dimension. Padding is (begin, end); a transposed
    convolution crops its output by it, evenly as torch does, and its output padding, which may be below 0, adds to the
    end what it computes there or crops more. Raises ValueError for what no convolution can have.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.output_padding:
            object.__setattr__(self, "output_padding", (0,) * len(self.stride))
        _check(self)

    @property
    def ndim(self) -> int:
        return len(self.stride)

    @property
    def pads(self) -> bool:
        """True if any side of the input is padded (transposed: if any side of the output is cropped)."""
        return any(side for pair in self.padding for side in pair)

    def pointwise(self, kernel: tuple[int, ...]) -> bool:
        """True if each output position reads its own input position and nothing else."""
        plain = not (self.pads or self.transposed)
        return plain and all(size == 1 for size in kernel) and all(step == 1 for step in self.stride)

    def reach(self, kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Distance from the first tap to the last one, for each dimension: dilation * (kernel - 1)."""
        return tuple(step * (size - 1) for step, size in zip(self.dilation, kernel, strict=True))


def _check(geometry: Geometry) -> None:
    lengths = {len(geometry.padding), len(geometry.dilation), len(geometry.output_padding), geometry.ndim}
    if len(lengths) != 1:
        raise ValueError(f"stride, padding, dilation and output padding differ in length: {geometry}")
    if geometry.groups < 1 or min((*geometry.stride, *geometry.dilation, 1)) < 1:
        raise ValueError(f"stride, dilation and groups must be at least 1: {geometry}")
    if any(side < 0 for pair in geometry.padding for side in pair):
        raise ValueError(f"padding can't be negative: {geometry}")
    if geometry.padding_mode not in PADDING_MODES:
        raise ValueError(f"padding mode {geometry.padding_mode!r} is none of {', '.join(PADDING_MODES)}")
    if geometry.transposed:
        _check_transposed(geometry)
    elif any(geometry.output_padding):
        raise ValueError(f"only a transposed convolution has output padding: {geometry}")


def _check_transposed(geometry: Geometry) -> None:
    if geometry.padding_mode != "zeros" or any(begin != end for begin, end in geometry.padding):
        raise ValueError(f"a transposed convolution has even padding of mode zeros: {geometry}")
    limits = zip(geometry.output_padding, geometry.stride, geometry.dilation, strict=True)
    if any(extra > 0 and extra >= max(stride, dilation) for extra, stride, dilation in limits):
        raise ValueError(f"output padding must be smaller than stride or dilation: {geometry}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an identity would build, known from shapes alone: the price, before anything is materialised."""

    weight_shape: tuple[int, ...]  # (out, in / groups, *kernel); transposed: (in, out / groups, *kernel)
    geometry: Geometry

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight_shape[2:]

    @property
    def in_channels(self) -> int:
        first, second = self.weight_shape[:2]
        return first if self.geometry.transposed else second * self.geometry.groups

    @property
    def out_channels(self) -> int:
        first, second = self.weight_shape[:2]
        return second * self.geometry.groups if self.geometry.transposed else first

    @property
    def parameters(self) -> int:
        """Numbers in the weight and the bias."""
        return math.prod(self.weight_shape) + self.out_channels


@dataclass(frozen=True, slots=True)
class ConvMap:
    """A convolution as a value: y = weight * x + bias, in float64. Raises ValueError if the parts don't fit."""

    weight: Tensor  # (out, in / groups, *kernel); transposed: (in, out / groups, *kernel)
    bias: Tensor  # (out,)
    geometry: Geometry

    def __post_init__(self) -> None:
        shape, groups = tuple(self.weight.shape), self.geometry.groups
        if len(shape) != self.geometry.ndim + 2 or 0 in shape:
            raise ValueError(f"a weight of shape {shape} does not fit {self.geometry.ndim} spatial dimensions")
        if shape[0] % groups or tuple(self.bias.shape) != (self.out_channels,):
            raise ValueError(f"weight {shape}, bias {tuple(self.bias.shape)} and {groups} groups don't fit together")
        if self.weight.dtype != torch.float64 or self.bias.dtype != torch.float64:
            raise ValueError(f"the algebra is in float64, not {self.weight.dtype} and {self.bias.dtype}")

    @property
    def plan(self) -> Plan:
        return Plan(tuple(self.weight.shape), self.geometry)

    @property
    def in_channels(self) -> int:
        return self.plan.in_channels

    @property
    def out_channels(self) -> int:
        return self.plan.out_channels

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(self.weight.shape[2:])

    @property
    def bias_zero(self) -> bool:
        """True if the bias is exactly zero."""
        return not bool(self.bias.any())


@dataclass(frozen=True, slots=True)
class Affine:
    """One scale and one shift for each channel: y = scale * x + shift."""

    scale: Tensor  # (channels,)
    shift: Tensor  # (channels,)

    def then(self, other: "Affine") -> "Affine":
        """other(self(x))."""
        return Affine(other.scale * self.scale, other.scale * self.shift + other.shift)


def grouped_rows(conv: ConvMap) -> Tensor:
    """The weight as (groups, out / groups, in / groups, *kernel), whichever way round it is stored."""
    grouped = torch.unflatten(conv.weight, 0, (conv.geometry.groups, -1))
    return grouped.transpose(1, 2) if conv.geometry.transposed else grouped


def from_grouped_rows(rows: Tensor, bias: Tensor, geometry: Geometry) -> ConvMap:
    """The convolution whose weight is `rows`, as (groups, out / groups, in / groups, *kernel)."""
    stored = rows.transpose(1, 2) if geometry.transposed else rows
    weight = stored.flatten(0, 1).contiguous()
    return ConvMap(weight, bias, replace(geometry, groups=rows.shape[0]))


def weight_shape(out: int, into: int, kernel: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    """Shape of the weight from `into` to `out` channels under this geometry."""
    if geometry.transposed:
        return (into, out // geometry.groups, *kernel)
    return (out, into // geometry.groups, *kernel)
