from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import ConvMap, Geometry, Refusal, compose, compose_plan, identity_map
from tests.engine.algebra.drawn import (
    convs,
    exactly,
    few,
    numbers,
    run,
    smallest_input,
    transposed_convs,
    transposed_inputs,
)


def plan_of(first, second):
    shapes = (tuple(first.weight.shape), first.geometry, tuple(second.weight.shape), second.geometry)
    return compose_plan(*shapes, not first.bias.any())


@st.composite
def inputs_of_both(draw, first, second):
    """An input of the first whose output the second can read."""
    least = zip(smallest_input(first), smallest_input(second), first.geometry.stride, strict=True)
    size = [own + step * other + draw(st.integers(0, 4)) for own, other, step in least]
    return numbers(draw(st.integers(0, 99)), 1, first.in_channels, *size)


@few
@given(st.data())
def test_an_unpadded_second_convolution_always_composes(data):
    first = data.draw(convs(max_stride=2, max_dilation=2))
    second = data.draw(
        convs(ndim=first.geometry.ndim, into=first.out_channels, max_pad=0, max_stride=2, max_dilation=2)
    )
    x = data.draw(inputs_of_both(first, second))

    joint = compose(first, second)

    assert joint.plan == plan_of(first, second)
    exactly(run(joint, x), run(second, run(first, x)))


@few
@given(st.data(), st.booleans(), st.booleans())
def test_any_two_convolutions_compose_exactly_or_are_refused_at_the_border(data, biased, points):
    ndim = data.draw(st.integers(1, 2))
    first = data.draw(convs(ndim=ndim, max_stride=2, max_kernel=1 if points else 3, max_pad=2, max_dilation=2))
    first = first if biased else replace(first, bias=torch.zeros_like(first.bias))
    second = data.draw(convs(ndim=ndim, into=first.out_channels, max_stride=2, max_pad=1, max_dilation=2))

    joint = compose(first, second)

    assert plan_of(first, second) == (joint.plan if isinstance(joint, ConvMap) else joint)
    if isinstance(joint, Refusal):
        assert joint.code == "border-differs"
        assert second.geometry.pads
    else:
        x = data.draw(inputs_of_both(first, second))
        exactly(run(joint, x), run(second, run(first, x)))


@few
@given(st.data())
def test_a_padded_kxk_after_a_1x1_without_bias_composes(data):
    ndim = data.draw(st.integers(1, 2))
    first = data.draw(convs(ndim=ndim, max_kernel=1, max_stride=2, modes=("zeros",)))
    first = replace(first, bias=torch.zeros_like(first.bias))
    second = data.draw(convs(ndim=ndim, into=first.out_channels, modes=("zeros",)))
    x = data.draw(inputs_of_both(first, second))

    exactly(run(compose(first, second), x), run(second, run(first, x)))


@few
@given(st.data())
def test_a_1x1_commutes_with_every_padding_but_zeros(data):
    first = data.draw(convs(ndim=1, max_kernel=1, max_stride=1, max_pad=0))
    second = data.draw(convs(ndim=1, into=first.out_channels, modes=("reflect", "replicate", "circular")))
    x = data.draw(inputs_of_both(first, second))

    exactly(run(compose(first, second), x), run(second, run(first, x)))


@few
@given(st.data())
def test_a_transposed_convolution_composes_with_a_1x1_after_it(data):
    first = data.draw(transposed_convs())
    second = data.draw(convs(ndim=first.geometry.ndim, into=first.out_channels, max_kernel=1, max_pad=0, max_stride=1))
    x = data.draw(transposed_inputs(first))

    joint = compose(first, second)

    assert joint.plan == plan_of(first, second)
    exactly(run(joint, x), run(second, run(first, x)))


@few
@given(st.data(), st.booleans())
def test_a_transposed_convolution_composes_with_a_1x1_before_it(data, biased):
    second = data.draw(transposed_convs(into=4))
    first = data.draw(convs(ndim=second.geometry.ndim, out=4, max_kernel=1, max_pad=0, max_stride=1))
    first = first if biased else replace(first, bias=torch.zeros_like(first.bias))
    x = numbers(7, 1, first.in_channels, *data.draw(transposed_inputs(second)).shape[2:])

    joint = compose(first, second)

    if isinstance(joint, Refusal):
        assert joint.code == "border-differs"
        assert first.bias.any()
    else:
        exactly(run(joint, x), run(second, run(first, x)))


def line(kernel, padding=(0, 0), stride=1, mode="zeros", bias=True, channels=2, groups=1):
    geometry = Geometry((stride,), (padding,), (1,), groups, mode)
    weight = torch.ones(channels, channels // groups, kernel, dtype=torch.float64)
    return ConvMap(weight, torch.full((channels,), float(bias), dtype=torch.float64), geometry)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (line(1), line(3, (1, 1))),
        (line(3, (1, 1), bias=False), line(3, (1, 1))),
        (line(3, (2, 1), bias=False), line(3, (1, 1))),
        (line(3, (1, 2), bias=False), line(3, (1, 1))),
        (line(3, (1, 1), mode="reflect", bias=False), line(3, (1, 1))),
        (line(3, (1, 1), bias=False), line(3, (1, 1), mode="replicate")),
        (line(1, stride=2), line(3, (1, 1), mode="reflect")),
    ],
)
def test_a_border_that_is_refused_is_one_which_no_convolution_has(first, second):
    """The joint geometry without its padding gives the inner outputs; the outer ones are not those of zero padding."""
    refusal = compose(first, second)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "border-differs"

    inner = compose(
        replace(first, geometry=replace(first.geometry, padding=((0, 0),))),
        replace(second, geometry=replace(second.geometry, padding=((0, 0),))),
    )
    step = first.geometry.stride[0]
    sides = [
        own + step * other for own, other in zip(first.geometry.padding[0], second.geometry.padding[0], strict=True)
    ]
    for mode in ("zeros", first.geometry.padding_mode, second.geometry.padding_mode):
        forced = replace(inner, geometry=replace(inner.geometry, padding=(tuple(sides),), padding_mode=mode))
        x = numbers(3, 1, 2, 12)
        one, other = run(forced, x), run(second, run(first, x))
        assert one.shape == other.shape
        assert not torch.equal(one, other)


def test_a_full_convolution_leaves_nothing_outside_its_range():
    first, second = line(3, (2, 2), bias=False), line(3, (1, 1))
    x = numbers(1, 1, 2, 6)
    exactly(run(compose(first, second), x), run(second, run(first, x)))


def test_depthwise_after_depthwise_stays_depthwise():
    first, second = line(3, channels=8, groups=8), line(5, channels=8, groups=8)
    assert plan_of(first, second).weight_shape == (8, 1, 7)


def test_linear_after_linear_is_one_linear():
    first = ConvMap(numbers(0, 5, 3), numbers(1, 5), Geometry((), (), ()))
    second = ConvMap(numbers(2, 4, 5), numbers(3, 4), Geometry((), (), ()))
    x = numbers(4, 6, 3)
    exactly(run(compose(first, second), x), run(second, run(first, x)))


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        ("channels-differ", line(1, channels=4), line(1)),
        ("dimensions-differ", line(1), identity_map(2, 2)),
        (
            "transposed",
            ConvMap(numbers(0, 2, 2, 2), numbers(1, 2), Geometry((2,), ((0, 0),), (1,), transposed=True)),
            line(3),
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused_with_their_code(code, first, second):
    assert compose(first, second).code == code


def test_the_price_is_known_without_the_weights():
    plan = compose_plan(
        (1 << 20, 1, 31, 31),
        Geometry((1, 1), ((15, 15),) * 2, (1, 1), 1 << 20),
        (1 << 20, 1 << 20, 1, 1),
        Geometry((1, 1), ((0, 0),) * 2, (1, 1)),
        first_bias_zero=False,
    )
    assert plan.weight_shape == (1 << 20, 1 << 20, 31, 31)
    assert plan.parameters > 2**49
