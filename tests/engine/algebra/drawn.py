"""Random convolutions for the property tests, and the independent computation that they are compared with.

All drawn numbers are small multiples of 1/8: their products and sums are exact in float64, in any order, so two ways of
computing the same map agree to the last bit and a tolerance of zero is the right one.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from app.engine.algebra import Affine, ConvMap, Geometry

few = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**31)
MODES = ("zeros", "reflect", "replicate", "circular")


def numbers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 9, shape, generator=generator).to(torch.float64) / 8


def run(conv: ConvMap, x: Tensor) -> Tensor:
    """The convolution as torch runs it: pad, then torch.nn.functional."""
    geometry, dims = conv.geometry, conv.weight.ndim - 2
    if dims == 0:
        split = x.unflatten(1, (geometry.groups, -1)).unbind(1)
        weights = conv.weight.unflatten(0, (geometry.groups, -1)).unbind(0)
        return torch.cat([F.linear(part, weight) for part, weight in zip(split, weights, strict=True)], 1) + conv.bias
    if geometry.transposed:
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
        crop = tuple(begin for begin, _ in geometry.padding)
        extra = geometry.output_padding
        return function(x, conv.weight, conv.bias, geometry.stride, crop, extra, geometry.groups, geometry.dilation)
    function = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    return function(pad(x, geometry), conv.weight, conv.bias, geometry.stride, 0, geometry.dilation, geometry.groups)


def pad(x: Tensor, geometry: Geometry) -> Tensor:
    sides = [side for pair in reversed(geometry.padding) for side in pair]
    mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
    return F.pad(x, sides, mode=mode) if any(sides) else x


def by_channel(vector: Tensor, x: Tensor) -> Tensor:
    return vector.reshape(1, -1, *(1,) * (x.ndim - 2))


def apply(affine: Affine, x: Tensor) -> Tensor:
    return x * by_channel(affine.scale, x) + by_channel(affine.shift, x)


def affine(seed: int, channels: int) -> Affine:
    return Affine(numbers(seed, channels), numbers(seed + 1, channels))


def output_size(geometry: Geometry, kernel: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        (length + sum(sides) - dilation * (taps - 1) - 1) // stride + 1
        for length, sides, dilation, taps, stride in zip(
            size, geometry.padding, geometry.dilation, kernel, geometry.stride, strict=True
        )
    )


def smallest_input(conv: ConvMap) -> tuple[int, ...]:
    """The smallest size that has an output and that every padding mode accepts."""
    geometry = conv.geometry
    return tuple(
        max(reach + 1 - sum(sides), *(side + 1 for side in sides), 1)
        for reach, sides in zip(geometry.reach(conv.kernel), geometry.padding, strict=True)
    )


@st.composite
def inputs(draw, *convs: ConvMap):
    """An input that each of these convolutions can read, between its smallest size and four more."""
    smallest = [max(along) for along in zip(*map(smallest_input, convs), strict=True)]
    size = [least + draw(st.integers(0, 4)) for least in smallest]
    return numbers(draw(seeds), 2, convs[0].in_channels, *size)


def _each(strategy, ndim):
    return st.tuples(*(strategy,) * ndim)


@st.composite
def geometries(
    draw, ndim: int, groups: int = 1, modes=MODES, max_stride: int = 3, max_dilation: int = 3, max_pad: int = 2
):
    side = st.integers(0, max_pad)
    return Geometry(
        draw(_each(st.integers(1, max_stride), ndim)),
        draw(_each(st.tuples(side, side), ndim)),
        draw(_each(st.integers(1, max_dilation), ndim)),
        groups,
        draw(st.sampled_from(modes)),
    )


@st.composite
def convs(draw, ndim=None, into=None, out=None, groups=None, geometry=None, max_kernel=3, **limits):
    """A convolution of 0 to 3 dimensions with even channels, random groups and any padding."""
    ndim = draw(st.integers(0, 3)) if ndim is None else ndim
    groups = draw(st.sampled_from((1, 2, 4))) if groups is None else groups
    into = groups * draw(st.integers(1, 2)) if into is None else into
    out = groups * draw(st.integers(1, 2)) if out is None else out
    groups = math.gcd(into, out, groups)
    geometry = draw(geometries(ndim, groups, **limits)) if geometry is None else replace(geometry, groups=groups)
    kernel = draw(_each(st.integers(1, max_kernel), ndim))
    seed = draw(seeds)
    return ConvMap(numbers(seed, out, into // groups, *kernel), numbers(seed + 1, out), geometry)


@st.composite
def transposed_convs(draw, ndim=None, groups=None, into=None):
    ndim = draw(st.integers(1, 3)) if ndim is None else ndim
    groups = draw(st.sampled_from((1, 2, 4))) if groups is None else groups
    into = groups * draw(st.integers(1, 2)) if into is None else into
    groups = math.gcd(into, groups)
    out = draw(st.integers(1, 2))
    stride, dilation = draw(_each(st.integers(1, 3), ndim)), draw(_each(st.integers(1, 2), ndim))
    kernel = draw(_each(st.integers(1, 3), ndim))
    crop = tuple(draw(st.integers(0, step * (size - 1))) for step, size in zip(dilation, kernel, strict=True))
    extra = tuple(draw(st.integers(0, max(pair) - 1)) for pair in zip(stride, dilation, strict=True))
    padding = tuple((side, side) for side in crop)
    geometry = Geometry(stride, padding, dilation, groups, transposed=True, output_padding=extra)
    seed = draw(seeds)
    return ConvMap(numbers(seed, into, out, *kernel), numbers(seed + 1, out * groups), geometry)


@st.composite
def transposed_inputs(draw, conv: ConvMap):
    """An input of a transposed convolution that leaves at least one output after cropping."""
    sides = tuple(2 * begin + 1 + draw(st.integers(0, 3)) for begin, _ in conv.geometry.padding)
    return numbers(draw(seeds), 2, conv.in_channels, *sides)


def exactly(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
