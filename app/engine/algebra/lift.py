"""Lifting: the same map written as a larger convolution (fewer groups, no dilation, a larger kernel, a known block)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from app.engine.algebra.convmap import (
    ConvMap,
    Geometry,
    Plan,
    Refusal,
    from_grouped_rows,
    grouped_rows,
    weight_shape,
)

Pairs = tuple[tuple[int, int], ...]


def dense(conv: ConvMap) -> ConvMap:
    """The same map with groups=1: blocks on the diagonal, zeros elsewhere."""
    lifted = regroup(conv, 1)
    assert isinstance(lifted, ConvMap), "1 divides every number of groups"
    return lifted


def regroup_plan(plan: Plan, groups: int) -> Plan | Refusal:
    """Shape and geometry of the map with fewer groups; `groups` must divide those that it has."""
    if groups < 1 or plan.geometry.groups % groups:
        return Refusal("groups-differ", f"{plan.geometry.groups} groups can't be gathered into {groups}")
    geometry = replace(plan.geometry, groups=groups)
    return Plan(weight_shape(plan.out_channels, plan.in_channels, plan.kernel, geometry), geometry)


def regroup(conv: ConvMap, groups: int) -> ConvMap | Refusal:
    """The same map with fewer groups: each group gathers neighbours, block-diagonally."""
    plan = regroup_plan(conv.plan, groups)
    if isinstance(plan, Refusal):
        return plan
    if groups == conv.geometry.groups:
        return conv
    return from_grouped_rows(gathered_rows(conv, groups), conv.bias, conv.geometry)


def gathered_rows(conv: ConvMap, groups: int) -> Tensor:
    """The weight as (groups, out / groups, in / groups, *kernel) for a divisor of the map's own groups."""
    rows = grouped_rows(conv)
    if groups == conv.geometry.groups:
        return rows
    share = conv.geometry.groups // groups
    gathered = rows.new_zeros(groups, share * rows.shape[1], share * rows.shape[2], *conv.kernel)
    add_rows(gathered, rows)
    return gathered


def add_rows(total: Tensor, rows: Tensor) -> None:
    """Adds rows of more groups to rows of fewer, in place: fine groups lie on the diagonal of the coarse ones.

    Both are (groups, out / groups, in / groups, *kernel) of the same channels and kernel.
    """
    share = rows.shape[0] // total.shape[0]
    blocks = torch.unflatten(torch.unflatten(total, 2, (share, -1)), 1, (share, -1))
    blocks.diagonal(dim1=1, dim2=3).add_(torch.unflatten(rows, 0, (-1, share)).movedim(1, -1))


def undilate(conv: ConvMap) -> ConvMap:
    """The same map with dilation 1: zeros between the taps.

    Raises ValueError for a transposed convolution whose output padding only its dilation allows.
    """
    return spread(conv, (1,) * conv.geometry.ndim)


def spread(conv: ConvMap, dilation: tuple[int, ...]) -> ConvMap:
    """The same map with a smaller dilation, which must divide the map's own (any, where the kernel is 1)."""
    reach = conv.geometry.reach(conv.kernel)
    spacing = zip(conv.geometry.dilation, conv.kernel, dilation, strict=True)
    if any(size > 1 and own % step for own, size, step in spacing):
        raise ValueError(f"taps of dilation {conv.geometry.dilation} don't lie on the grid {dilation}")
    geometry = replace(conv.geometry, dilation=dilation)
    if dilation == conv.geometry.dilation:
        return conv
    kernel = tuple(distance // step + 1 for distance, step in zip(reach, dilation, strict=True))
    weight = conv.weight.new_zeros(*conv.weight.shape[:2], *kernel)
    # A kernel of 1 has no dilation: its only tap stays at 0 whatever the quotient is.
    taps = (slice(None, None, max(1, own // step)) for own, step in zip(conv.geometry.dilation, dilation, strict=True))
    weight[(slice(None), slice(None), *taps)] = conv.weight
    return ConvMap(weight, conv.bias, geometry)


def to_window(conv: ConvMap, begin: Sequence[int], end: Sequence[int]) -> ConvMap | Refusal:
    """The same map with zero taps before and after the kernel, and as much more padding (taps times dilation).

    Exact for zeros and replicate, and for a map that pads nothing: zero taps read what the padding made up. More
    reflect or circular padding is refused, since it fails on inputs smaller than itself.
    """
    enlarges = any((*begin, *end))
    if enlarges and conv.geometry.pads and conv.geometry.padding_mode in ("reflect", "circular"):
        return Refusal(
            "padding-mode-differs",
            f"padding of mode {conv.geometry.padding_mode} can't grow with the kernel: it fails on small inputs",
        )
    if conv.geometry.transposed and tuple(begin) != tuple(end):
        return Refusal("padding-uneven", "a transposed convolution crops evenly: its kernel can't grow on one side")
    steps = conv.geometry.dilation
    padding = tuple(
        (own[0] + before * step, own[1] + after * step)
        for own, before, after, step in zip(conv.geometry.padding, begin, end, steps, strict=True)
    )
    mode = conv.geometry.padding_mode if conv.geometry.pads else "zeros"
    geometry = replace(conv.geometry, padding=padding, padding_mode=mode)
    return ConvMap(_zero_taps(conv.weight, begin, end), conv.bias, geometry)


def _zero_taps(weight: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    kernel = tuple(weight.shape[2:])
    sizes = tuple(before + size + after for before, size, after in zip(begin, kernel, end, strict=True))
    larger = weight.new_zeros(*weight.shape[:2], *sizes)
    inside = (slice(before, before + size) for before, size in zip(begin, kernel, strict=True))
    larger[(slice(None), slice(None), *inside)] = weight
    return larger


def pad_kernel(conv: ConvMap, kernel: Sequence[int]) -> ConvMap | Refusal:
    """The same map with a larger kernel, its taps in the middle (arXiv 2101.03697, figure 4)."""
    missing = tuple(wanted - size for wanted, size in zip(kernel, conv.kernel, strict=True))
    if any(rest < 0 or rest % 2 for rest in missing):
        return Refusal("kernel-not-centred", f"a kernel of {conv.kernel} can't stand centred in one of {tuple(kernel)}")
    sides = tuple(rest // 2 for rest in missing)
    return to_window(conv, sides, sides)


def identity_map(channels: int, ndim: int, groups: int | None = None) -> ConvMap:
    """y = x as a convolution of kernel 1; depthwise unless told otherwise."""
    plan = identity_plan(channels, ndim, groups)
    share = plan.weight_shape[1]
    weight = torch.eye(share, dtype=torch.float64).repeat(channels // share, 1).reshape(plan.weight_shape)
    return ConvMap(weight, torch.zeros(channels, dtype=torch.float64), plan.geometry)


def identity_plan(channels: int, ndim: int, groups: int | None = None) -> Plan:
    """Shape and geometry of `identity_map`."""
    groups = channels if groups is None else groups
    geometry = Geometry((1,) * ndim, ((0, 0),) * ndim, (1,) * ndim, groups)
    return Plan((channels, channels // groups, *(1,) * ndim), geometry)


def pad_plan(channels: int, padding: Pairs) -> Plan:
    """Shape and geometry of `pad_map`."""
    plan = identity_plan(channels, len(padding))
    outside = tuple((max(begin, 0), max(end, 0)) for begin, end in padding)
    kernel = tuple(1 - min(begin, 0) - min(end, 0) for begin, end in padding)
    return Plan((*plan.weight_shape[:2], *kernel), replace(plan.geometry, padding=outside))


def pad_map(channels: int, padding: Pairs) -> ConvMap:
    """Zeros around the maps, as a depthwise convolution of kernel 1 that pads.

    A negative side crops: the kernel has taps of zero for what is left out, so that its only one lies inside.
    """
    plan = pad_plan(channels, padding)
    weight = torch.zeros(plan.weight_shape, dtype=torch.float64)
    inside = (slice(-min(begin, 0), 1 - min(begin, 0)) for begin, _ in padding)
    weight[(slice(None), slice(None), *inside)] = 1
    return ConvMap(weight, torch.zeros(channels, dtype=torch.float64), plan.geometry)


def selection_plan(channels: int, taken: Sequence[int], ndim: int) -> Plan:
    """Shape and geometry of `selection_map`."""
    return Plan((len(taken), channels, *(1,) * ndim), identity_plan(channels, ndim, groups=1).geometry)


def selection_map(channels: int, taken: Sequence[int], ndim: int) -> ConvMap:
    """Some of the channels, in this order, as a dense convolution of kernel 1."""
    weight = torch.eye(channels, dtype=torch.float64)[list(taken)].reshape(-1, channels, *(1,) * ndim)
    return ConvMap(weight, weight.new_zeros(len(taken)), identity_plan(channels, ndim, groups=1).geometry)


def average_pool_map(
    channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs | tuple[int, ...],
    count_include_pad: bool = True,
    ceil_mode: bool = False,
    *,
    divisor: int | None = None,
    size: tuple[int, ...] | None = None,
) -> ConvMap | Refusal:
    """Average pooling as a depthwise convolution with equal taps (arXiv 2103.13425, section 3).

    `padding` is (begin, end) or one number for both, `size` the only spatial input size that ever occurs, if that
    is proved: then ceil_mode is accepted where it changes nothing. `divisor` is torch's `divisor_override`.
    """
    sides: Pairs = tuple((entry, entry) if isinstance(entry, int) else entry for entry in padding)
    pads = any(side for pair in sides for side in pair)
    if pads and not count_include_pad and divisor is None:
        return Refusal(
            "average-excludes-padding",
            f"average pooling with padding {sides} leaves the padding out of the mean: the divisor varies",
        )
    if ceil_mode and not _ends_even(kernel, stride, sides, size):
        return Refusal(
            "ceil-mode",
            f"average pooling of kernel {kernel} and stride {stride} rounds its output size up: "
            "its last window may reach beyond the input",
        )
    count = divisor if divisor is not None else math.prod(kernel)
    weight = torch.full((channels, 1, *kernel), 1 / count, dtype=torch.float64)
    geometry = Geometry(tuple(stride), sides, (1,) * len(kernel), channels)
    return ConvMap(weight, torch.zeros(channels, dtype=torch.float64), geometry)


def _ends_even(kernel: tuple[int, ...], stride: tuple[int, ...], padding: Pairs, size: tuple[int, ...] | None) -> bool:
    """True if the last window ends where the input ends, so that rounding the size up or down is the same."""
    if all(step == 1 for step in stride):
        return True
    if size is None:
        return False
    rests = zip(size, padding, kernel, stride, strict=True)
    return all((length + sum(sides) - width) % step == 0 for length, sides, width, step in rests)


def space_to_depth_map(
    channels: int, block: int | tuple[int, ...], order: Sequence[tuple[int, ...]]
) -> ConvMap | Refusal:
    """Slices x[..., dy::block, dx::block] concatenated in `order` (Focus, ReOrg) as a one-hot convolution.

    Output channel s * channels + c is channel c at offset order[s]. The kernel ends at the largest offset (the whole
    block, for a complete set of slices), so the output size is that of the shortest slice: exact for every input
    whose slices can be concatenated.
    """
    ndim = len(order[0])
    sizes = (block,) * ndim if isinstance(block, int) else tuple(block)
    if any(not 0 <= at < size for offset in order for at, size in zip(offset, sizes, strict=True)):
        return Refusal("offset-outside-block", f"the slices {tuple(order)} reach outside blocks of {sizes}")
    kernel = tuple(max(along) + 1 for along in zip(*order, strict=True))
    weight = torch.zeros(len(order), channels, channels, *kernel, dtype=torch.float64)
    for index, offset in enumerate(order):
        weight[index].diagonal(dim1=0, dim2=1)[offset] = 1
    geometry = Geometry(sizes, ((0, 0),) * ndim, (1,) * ndim)
    return ConvMap(weight.flatten(0, 1), torch.zeros(len(order) * channels, dtype=torch.float64), geometry)
