from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import ConvMap, Geometry, Refusal, concat, concat_plan, identity_map, merge, merge_plan
from tests.engine.algebra.drawn import (
    convs,
    exactly,
    few,
    inputs,
    numbers,
    output_size,
    run,
    transposed_convs,
    transposed_inputs,
)


def conv1d(kernel, padding, stride=1, dilation=1, mode="zeros", seed=0):
    geometry = Geometry((stride,), (padding,), (dilation,), 1, mode)
    return ConvMap(numbers(seed, 2, 2, kernel), numbers(seed + 1, 2), geometry)


@st.composite
def aligned(draw, first, out):
    """A branch beside `first`: other groups, kernel and dilation, padded so that both outputs have the same size."""
    geometry, kernel, padding, dilations = first.geometry, [], [], []
    for dim, reach in enumerate(geometry.reach(first.kernel)):
        growth = sum(geometry.padding[dim]) - reach
        dilation = draw(st.integers(1, 3))
        fits = [taps for taps in range(1, 5) if growth + dilation * (taps - 1) >= 0]
        size = draw(st.sampled_from(fits)) if fits else 1 - growth
        dilation = dilation if fits else 1
        total = growth + dilation * (size - 1)
        begin = draw(st.integers(0, total))
        kernel.append(size)
        padding.append((begin, total - begin))
        dilations.append(dilation)
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if first.in_channels % g == 0 and out % g == 0]))
    own = replace(geometry, padding=tuple(padding), dilation=tuple(dilations), groups=groups)
    seed = draw(st.integers(0, 2**31))
    return ConvMap(numbers(seed, out, first.in_channels // groups, *kernel), numbers(seed + 1, out), own)


@few
@given(st.data())
def test_a_sum_of_aligned_branches_is_one_convolution(data):
    first = data.draw(convs(max_pad=1, max_dilation=2))
    branches = [first, *(data.draw(aligned(first, first.out_channels)) for _ in range(data.draw(st.integers(1, 2))))]
    x = data.draw(inputs(*branches))

    merged = merge(branches)

    assert isinstance(merged, ConvMap)
    assert merged.plan == merge_plan([branch.plan for branch in branches])
    exactly(run(merged, x), sum(run(branch, x) for branch in branches))


@few
@given(st.data())
def test_a_concatenation_of_aligned_branches_is_one_convolution(data):
    first = data.draw(convs(max_pad=1, max_dilation=2))
    outs = data.draw(st.lists(st.sampled_from((1, 2, 4)), min_size=0, max_size=2))
    branches = [first, *(data.draw(aligned(first, out)) for out in outs)]
    x = data.draw(inputs(*branches))

    joined = concat(branches)

    assert joined.plan == concat_plan([branch.plan for branch in branches])
    exactly(run(joined, x), torch.cat([run(branch, x) for branch in branches], 1))


@few
@given(st.data())
def test_any_two_branches_are_merged_exactly_or_refused_for_a_reason(data):
    ndim = data.draw(st.integers(1, 2))
    one, two = (data.draw(convs(ndim=ndim, into=4, out=4, max_stride=2)) for _ in range(2))

    merged = merge([one, two])

    x = data.draw(inputs(one, two))
    if isinstance(merged, ConvMap):
        exactly(run(merged, x), run(one, x) + run(two, x))
    elif merged.code == "sizes-differ":
        sizes = [(n,) * ndim for n in range(20, 20 + 6)]
        outputs = [[output_size(conv.geometry, conv.kernel, size) for size in sizes] for conv in (one, two)]
        assert outputs[0] != outputs[1]
    else:
        geometries_ = (one.geometry, two.geometry)
        assert merged.code in ("strides-differ", "padding-modes-differ")
        assert len({(g.stride, g.padding_mode) for g in geometries_}) == 2


@few
@given(st.data())
def test_a_sum_of_transposed_convolutions_is_one(data):
    one = data.draw(transposed_convs(into=4))
    two = replace(one, weight=numbers(data.draw(st.integers(0, 9)), *one.weight.shape))
    into, out = one.in_channels, one.out_channels
    whole = ConvMap(numbers(3, into, out, *one.kernel), numbers(4, out), replace(one.geometry, groups=1))
    x = data.draw(transposed_inputs(one))

    exactly(run(merge([one, two, whole]), x), run(one, x) + run(two, x) + run(whole, x))
    exactly(run(concat([one, whole]), x), torch.cat([run(one, x), run(whole, x)], 1))


def test_a_repvgg_block_becomes_its_3x3():
    plain = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
    branches = [
        ConvMap(numbers(0, 8, 8, 3, 3), numbers(1, 8), plain),
        ConvMap(numbers(2, 8, 8, 1, 1), numbers(3, 8), replace(plain, padding=((0, 0), (0, 0)))),
        identity_map(8, 2),
    ]
    x = numbers(4, 2, 8, 5, 7)

    merged = merge(branches)

    assert merged.plan == branches[0].plan
    exactly(run(merged, x), run(branches[0], x) + run(branches[1], x) + x)


def test_depthwise_branches_stay_depthwise():
    wide = ConvMap(numbers(0, 8, 1, 5, 5), numbers(1, 8), Geometry((1, 1), ((2, 2), (2, 2)), (1, 1), 8))
    cross = ConvMap(numbers(2, 8, 1, 1, 3), numbers(3, 8), Geometry((1, 1), ((0, 0), (1, 1)), (1, 1), 8))

    assert merge_plan([wide.plan, cross.plan, identity_map(8, 2).plan]).weight_shape == (8, 1, 5, 5)


def test_branches_of_one_dilation_keep_it():
    one, two = conv1d(5, (4, 4), dilation=2), conv1d(3, (2, 2), dilation=2)

    plan = merge_plan([one.plan, two.plan])

    assert (plan.weight_shape, plan.geometry.dilation) == ((2, 2, 5), (2,))


@pytest.mark.parametrize(
    ("code", "branches"),
    [
        ("strides-differ", [conv1d(1, (0, 0), stride=1), conv1d(1, (0, 0), stride=2)]),
        ("sizes-differ", [conv1d(3, (1, 1), stride=2), conv1d(2, (0, 0), stride=2)]),
        ("padding-modes-differ", [conv1d(3, (1, 1)), conv1d(3, (1, 1), mode="reflect")]),
        ("channels-differ", [conv1d(1, (0, 0)), identity_map(4, 1)]),
        ("dimensions-differ", [conv1d(1, (0, 0)), identity_map(2, 2)]),
        (
            "transposed-differs",
            [conv1d(1, (0, 0)), replace(conv1d(1, (0, 0)), geometry=Geometry((1,), ((0, 0),), (1,), transposed=True))],
        ),
    ],
)
def test_branches_that_do_not_fit_are_refused_with_their_code(code, branches):
    assert merge(branches).code == code
    if code != "channels-differ":
        assert concat(branches).code == code


def test_a_branch_without_padding_joins_any_padding_mode():
    branches = [conv1d(3, (1, 1), mode="circular"), conv1d(1, (0, 0), seed=5)]
    x = numbers(9, 1, 2, 6)

    merged = merge(branches)

    assert merged.geometry.padding_mode == "circular"
    exactly(run(merged, x), run(branches[0], x) + run(branches[1], x))


def test_a_refusal_names_the_figures():
    refusal = merge([conv1d(1, (0, 0), stride=1), conv1d(1, (0, 0), stride=2)])
    assert isinstance(refusal, Refusal)
    assert "(1,) and (2,)" in refusal.reason
