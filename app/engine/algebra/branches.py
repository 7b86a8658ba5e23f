"""Branches that read the same input: their sum and their concatenation as one convolution."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from app.engine.algebra.convmap import ConvMap, Geometry, Plan, Refusal, from_grouped_rows, grouped_rows, weight_shape
from app.engine.algebra.lift import add_rows

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Window:
    """The common grid of taps along one dimension."""

    begin: int
    end: int
    dilation: int
    kernel: int


def merge_plan(plans: Sequence[Plan]) -> Plan | Refusal:
    """What the sum of these branches would be.

    A branch with padding p, dilation d and kernel k reads the offsets -p to d * (k - 1) - p. The union of these
    windows is the new kernel, minus its lowest offset the new padding. The branches' outputs have equal sizes for
    every input if, and with a stride only if, begin + end - d * (k - 1) is the same for all.
    """
    outputs = sorted({plan.out_channels for plan in plans})
    if len(outputs) > 1:
        return Refusal("channels-differ", f"the branches to be added have {_listed(outputs)} output channels")
    groups = math.gcd(*(plan.geometry.groups for plan in plans))
    return _aligned(plans, outputs[0], groups)


def merge(convs: Sequence[ConvMap]) -> ConvMap | Refusal:
    """The sum of branches, conv_1(x) + conv_2(x) + ..., as one convolution (arXiv 2101.03697, section 3.3)."""
    plan = merge_plan([conv.plan for conv in convs])
    if isinstance(plan, Refusal):
        return plan
    groups = plan.geometry.groups
    shape = (groups, plan.out_channels // groups, plan.in_channels // groups, *plan.kernel)
    total = convs[0].weight.new_zeros(shape)
    for conv in convs:
        add_rows(_taps(total, conv, plan.geometry), grouped_rows(conv))
    bias = torch.stack([conv.bias for conv in convs]).sum(0)
    return from_grouped_rows(total, bias, plan.geometry)


def concat_plan(plans: Sequence[Plan]) -> Plan | Refusal:
    """What the concatenation of these branches' output channels would be: dense, since each reads every input."""
    groups = 1 if len(plans) > 1 else plans[0].geometry.groups
    return _aligned(plans, sum(plan.out_channels for plan in plans), groups)


def concat(convs: Sequence[ConvMap]) -> ConvMap | Refusal:
    """concat(conv_1(x), conv_2(x), ...) along the channels as one convolution; windows are aligned as for a sum."""
    plan = concat_plan([conv.plan for conv in convs])
    if isinstance(plan, Refusal):
        return plan
    groups = plan.geometry.groups
    shape = (groups, plan.out_channels // groups, plan.in_channels // groups, *plan.kernel)
    total = convs[0].weight.new_zeros(shape)
    widths = [conv.out_channels // groups for conv in convs]
    for conv, part in zip(convs, torch.split(total, widths, dim=1), strict=True):
        add_rows(_taps(part, conv, plan.geometry), grouped_rows(conv))
    return from_grouped_rows(total, torch.cat([conv.bias for conv in convs]), plan.geometry)


def blocks_plan(plans: Sequence[Plan]) -> Plan:
    """What equal maps of neighbouring shares of the channels are together: one map with as many times the groups."""
    first = plans[0]
    assert all(plan == first for plan in plans)
    assert not first.geometry.transposed
    geometry = replace(first.geometry, groups=len(plans) * first.geometry.groups)
    return Plan((len(plans) * first.out_channels, *first.weight_shape[1:]), geometry)


def blocks(convs: Sequence[ConvMap]) -> ConvMap:
    """concat(conv_1(x_1), conv_2(x_2), ...) of neighbouring shares of the channels as one grouped convolution."""
    plan = blocks_plan([conv.plan for conv in convs])
    weight = torch.cat([conv.weight for conv in convs])
    return ConvMap(weight, torch.cat([conv.bias for conv in convs]), plan.geometry)


def _aligned(plans: Sequence[Plan], out: int, groups: int) -> Plan | Refusal:
    refusal = _mismatch(plans)
    if refusal is not None:
        return refusal
    windows = []
    for dim in range(plans[0].geometry.ndim):
        window = _window(plans, dim)
        if isinstance(window, Refusal):
            return window
        windows.append(window)
    dilation = tuple(window.dilation for window in windows)
    first = plans[0].geometry
    if _output_padding_too_large(first, dilation):
        return Refusal("output-padding", f"output padding {first.output_padding} needs the dilation {first.dilation}")
    geometry = replace(
        first,
        padding=tuple((window.begin, window.end) for window in windows),
        padding_mode=next((plan.geometry.padding_mode for plan in plans if plan.geometry.pads), "zeros"),
        dilation=dilation,
        groups=groups,
    )
    kernel = tuple(window.kernel for window in windows)
    return Plan(weight_shape(out, plans[0].in_channels, kernel, geometry), geometry)


def _mismatch(plans: Sequence[Plan]) -> Refusal | None:
    geometries = [plan.geometry for plan in plans]
    inputs = _distinct(plan.in_channels for plan in plans)
    if len(inputs) > 1:
        return Refusal("channels-differ", f"the branches read {_listed(inputs)} input channels")
    if len(_distinct(geometry.ndim for geometry in geometries)) > 1:
        return Refusal("dimensions-differ", "the branches have different numbers of spatial dimensions")
    if len(_distinct(geometry.transposed for geometry in geometries)) > 1:
        return Refusal("transposed-differs", "a transposed convolution can't be merged with one that is not")
    strides = _distinct(geometry.stride for geometry in geometries)
    if len(strides) > 1:
        return Refusal("strides-differ", f"the branches have strides {_listed(strides)}")
    extras = _distinct(geometry.output_padding for geometry in geometries)
    if len(extras) > 1:
        return Refusal("sizes-differ", f"the branches have output paddings {_listed(extras)}")
    # A branch that pads nothing takes any mode: its taps never reach what the others pad.
    modes = _distinct(geometry.padding_mode for geometry in geometries if geometry.pads)
    if len(modes) > 1:
        return Refusal("padding-modes-differ", f"the branches pad in the modes {_listed(modes)}")
    return None


def _window(plans: Sequence[Plan], dim: int) -> _Window | Refusal:
    """The union of the branches' windows along one dimension, on the coarsest grid that holds all taps."""
    sides = [plan.geometry.padding[dim] for plan in plans]
    reaches = [plan.geometry.reach(plan.kernel)[dim] for plan in plans]
    growth = _distinct(begin + end - reach for (begin, end), reach in zip(sides, reaches, strict=True))
    if len(growth) > 1:
        return Refusal(
            "sizes-differ",
            f"along dimension {dim} the branches' outputs are larger than their inputs by {_listed(growth)} "
            "before the stride: their sizes are not equal for every input",
        )
    steps = [plan.geometry.dilation[dim] for plan in plans if plan.kernel[dim] > 1]
    grid = math.gcd(*steps, *(begin - sides[0][0] for begin, _ in sides))
    grid = grid or plans[0].geometry.dilation[dim]  # one tap each at one place
    begin, end = (max(along) for along in zip(*sides, strict=True))
    return _Window(begin, end, grid, (begin + end - growth[0]) // grid + 1)


def taps_in(geometry: Geometry, branch: Plan) -> tuple[slice, ...]:
    """Where in the common kernel, of this geometry, a branch has its taps."""
    places = []
    for dim, size in enumerate(branch.kernel):
        grid = geometry.dilation[dim]
        step = max(1, branch.geometry.dilation[dim] // grid)
        start = (geometry.padding[dim][0] - branch.geometry.padding[dim][0]) // grid
        places.append(slice(start, start + step * (size - 1) + 1, step))
    return tuple(places)


def _taps(total: Tensor, conv: ConvMap, geometry: Geometry) -> Tensor:
    """The view of the common kernel, (groups, out, in, *kernel), in which this branch has its taps."""
    return total[(slice(None), slice(None), slice(None), *taps_in(geometry, conv.plan))]


def _output_padding_too_large(geometry: Geometry, dilation: tuple[int, ...]) -> bool:
    limits = zip(geometry.output_padding, geometry.stride, dilation, strict=True)
    return any(extra and extra >= max(stride, step) for extra, stride, step in limits)


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _listed(values: Sequence[object]) -> str:
    return " and ".join(str(value) for value in values)
