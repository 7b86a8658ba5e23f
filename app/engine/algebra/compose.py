"""One convolution after another as one convolution."""

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from app.engine.algebra.affine import shift_before_refusal, shifted_bias
from app.engine.algebra.convmap import ConvMap, Geometry, Plan, Refusal, from_grouped_rows, grouped_rows, weight_shape
from app.engine.algebra.lift import gathered_rows


def compose_plan(
    first_shape: tuple[int, ...],
    first_geometry: Geometry,
    second_shape: tuple[int, ...],
    second_geometry: Geometry,
    first_bias_zero: bool,
) -> Plan | Refusal:
    """What second(first(x)) would be.

    The second's tap j and the first's tap k meet at j * d2 * s1 + k * d1: stride s1 * s2, padding p1 + s1 * p2, and
    the sizes round down to the same number. What the second pads must be what the joint map finds there.
    """
    first, second = Plan(first_shape, first_geometry), Plan(second_shape, second_geometry)
    refusal = _mismatch(first, second) or _border_refusal(first, second, first_bias_zero)
    if refusal is not None:
        return refusal
    geometry = _joint_geometry(first, second)
    reaches = zip(
        first.geometry.reach(first.kernel), first.geometry.stride, second.geometry.reach(second.kernel), strict=True
    )
    window = [own + stride * other for own, stride, other in reaches]
    kernel = tuple(reach // grid + 1 for reach, grid in zip(window, geometry.dilation, strict=True))
    return Plan(weight_shape(second.out_channels, first.in_channels, kernel, geometry), geometry)


def compose(first: ConvMap, second: ConvMap) -> ConvMap | Refusal:
    """second(first(x)) as one convolution (arXiv 2103.13425, section 3, for 1x1 and kxk)."""
    plan = compose_plan(*_shape(first), *_shape(second), first.bias_zero)
    if isinstance(plan, Refusal):
        return plan
    groups = plan.geometry.groups
    shape = (groups, plan.out_channels // groups, plan.in_channels // groups, *plan.kernel)
    total = first.weight.new_zeros(shape)
    for tap, product_rows in _products(first, second, groups):
        total[_every(3) + _taps(tap, first, second, plan.geometry)] += product_rows
    return from_grouped_rows(total, shifted_bias(second, first.bias), plan.geometry)


def _shape(conv: ConvMap) -> tuple[tuple[int, ...], Geometry]:
    return tuple(conv.weight.shape), conv.geometry


def _mismatch(first: Plan, second: Plan) -> Refusal | None:
    if first.geometry.ndim != second.geometry.ndim:
        return Refusal(
            "dimensions-differ",
            f"one of the maps has {first.geometry.ndim} spatial dimensions, the next one {second.geometry.ndim}",
        )
    if first.out_channels != second.in_channels:
        return Refusal(
            "channels-differ", f"{first.out_channels} channels come out of one map, the next reads {second.in_channels}"
        )
    alone = (first.geometry.transposed and not _pointwise(second)) or (
        second.geometry.transposed and not _pointwise(first)
    )
    if alone:
        return Refusal("transposed", "a transposed convolution composes with a 1x1 of stride 1 and no padding only")
    return None


def _pointwise(plan: Plan) -> bool:
    return plan.geometry.pointwise(plan.kernel)


def _border_refusal(first: Plan, second: Plan, first_bias_zero: bool) -> Refusal | None:
    """Why what the second pads is not what the joint map finds there, or None if it is."""
    geometry = second.geometry
    if geometry.transposed or not geometry.pads:
        return shift_before_refusal(second.kernel, geometry, first_bias_zero)
    if geometry.padding_mode != "zeros":
        if _pointwise(first):
            return None
        return Refusal(
            "border-differs",
            f"the second convolution pads in mode {geometry.padding_mode}, and the first, of kernel {first.kernel} "
            f"and stride {first.geometry.stride}, does not commute with that",
        )
    if first.geometry.pads and first.geometry.padding_mode != "zeros":
        return Refusal(
            "border-differs",
            f"the first convolution pads in mode {first.geometry.padding_mode} and the second with zeros",
        )
    return shift_before_refusal(second.kernel, geometry, first_bias_zero) or _overlap_refusal(first, second)


def _overlap_refusal(first: Plan, second: Plan) -> Refusal | None:
    """The second's zeros are right if the first, computed there, would read its own zero padding only.

    One step before the first output the last tap stands at reach - padding - stride; one step after the last one the
    first tap stands, in the worst case of a rounded-down size, at size + end padding - reach.
    """
    for dim, reach in enumerate(first.geometry.reach(first.kernel)):
        (before, after), (begin, end) = first.geometry.padding[dim], second.geometry.padding[dim]
        begin_wrong = begin and reach - before - first.geometry.stride[dim] >= 0
        end_wrong = end and after < reach
        if begin_wrong or end_wrong:
            return Refusal(
                "border-differs",
                f"the second convolution pads with zeros by {(begin, end)} along dimension {dim}, where the first, "
                f"reaching over {reach} with padding {(before, after)}, would still see its input",
            )
    return None


def _joint_geometry(first: Plan, second: Plan) -> Geometry:
    one, two = first.geometry, second.geometry
    sides = zip(one.padding, one.stride, two.padding, strict=True)
    return Geometry(
        stride=tuple(a * b for a, b in zip(one.stride, two.stride, strict=True)),
        padding=tuple((own[0] + step * other[0], own[1] + step * other[1]) for own, step, other in sides),
        dilation=_joint_dilation(first, second),
        groups=math.gcd(one.groups, two.groups),
        padding_mode=next((part.padding_mode for part in (two, one) if part.pads), "zeros"),
        transposed=one.transposed or two.transposed,
        output_padding=tuple(a + b for a, b in zip(one.output_padding, two.output_padding, strict=True)),
    )


def _joint_dilation(first: Plan, second: Plan) -> tuple[int, ...]:
    """The coarsest grid that holds all taps; beside a 1x1 a transposed convolution keeps its own."""
    for plan in (first, second):
        if plan.geometry.transposed:
            return plan.geometry.dilation
    grids = []
    for dim, (inner, outer) in enumerate(zip(first.kernel, second.kernel, strict=True)):
        own = first.geometry.dilation[dim] if inner > 1 else 0
        other = second.geometry.dilation[dim] * first.geometry.stride[dim] if outer > 1 else 0
        grids.append(math.gcd(own, other) or 1)
    return tuple(grids)


def _taps(tap: tuple[int, ...], first: ConvMap, second: ConvMap, geometry: Geometry) -> tuple[slice, ...]:
    """Where in the joint kernel the first's taps stand, seen through one tap of the second."""
    places = []
    for dim, (index, size) in enumerate(zip(tap, first.kernel, strict=True)):
        grid = geometry.dilation[dim]
        step = max(1, first.geometry.dilation[dim] // grid)
        start = index * second.geometry.dilation[dim] * first.geometry.stride[dim] // grid
        places.append(slice(start, start + step * (size - 1) + 1, step))
    return tuple(places)


def _products(first: ConvMap, second: ConvMap, groups: int) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """For each tap of the second, its product with all of the first: (groups, out / groups, in / groups, *kernel).

    The map with more groups stays as it is, so that depthwise beside dense costs what the result costs.
    """
    if first.geometry.groups > groups:
        equation, outer = "goqc,gqcik->goqik", gathered_rows(second, groups)
        outer = torch.unflatten(outer, 2, (first.geometry.groups // groups, -1))
    else:
        equation, outer = "groc,grcik->groik", torch.unflatten(grouped_rows(second), 0, (groups, -1))
    rows = grouped_rows(first)
    inner = rows.reshape(groups, -1, outer.shape[3], rows.shape[2], math.prod(first.kernel))
    shape = (groups, second.out_channels // groups, first.in_channels // groups, *first.kernel)
    for tap in product(*map(range, second.kernel)):
        yield tap, torch.einsum(equation, outer[_every(4) + tap], inner).reshape(shape)


def _every(dimensions: int) -> tuple[slice, ...]:
    return (slice(None),) * dimensions
