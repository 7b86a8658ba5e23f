import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import (
    ConvMap,
    Geometry,
    Refusal,
    average_pool_map,
    dense,
    identity_map,
    identity_plan,
    pad_kernel,
    pad_map,
    regroup,
    regroup_plan,
    space_to_depth_map,
    spread,
    to_window,
    undilate,
)
from tests.engine.algebra.drawn import (
    convs,
    exactly,
    few,
    inputs,
    numbers,
    run,
    seeds,
    transposed_convs,
    transposed_inputs,
)

POOL = (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@few
@given(st.data())
def test_regrouping_and_undilating_change_nothing(data):
    conv = data.draw(convs())
    x = data.draw(inputs(conv))
    expected = run(conv, x)

    assert dense(conv).geometry.groups == 1
    exactly(run(dense(conv), x), expected)
    exactly(run(undilate(conv), x), expected)
    for groups in (1, 2, 4):
        lifted = regroup(conv, groups)
        if conv.geometry.groups % groups:
            assert isinstance(lifted, Refusal)
            assert lifted.code == "groups-differ"
        else:
            assert lifted.plan == regroup_plan(conv.plan, groups)
            exactly(run(lifted, x), expected)


@few
@given(st.data())
def test_regrouping_and_undilating_a_transposed_convolution_change_nothing(data):
    conv = data.draw(transposed_convs())
    x = data.draw(transposed_inputs(conv))
    exactly(run(dense(conv), x), run(conv, x))
    if not any(conv.geometry.output_padding):
        exactly(run(undilate(conv), x), run(conv, x))


def test_taps_that_do_not_lie_on_the_grid_are_our_own_mistake():
    conv = ConvMap(numbers(0, 1, 1, 3), numbers(1, 1), Geometry((1,), ((0, 0),), (3,)))
    with pytest.raises(ValueError, match="grid"):
        spread(conv, (2,))


@few
@given(st.data())
def test_enlarging_the_kernel_enlarges_the_padding_and_changes_nothing(data):
    conv = data.draw(convs())
    side = st.tuples(*(st.integers(0, 2),) * conv.geometry.ndim)
    begin, end = data.draw(side), data.draw(side)
    x = data.draw(inputs(conv))

    larger = to_window(conv, begin, end)

    if isinstance(larger, Refusal):
        assert conv.geometry.padding_mode in ("reflect", "circular")
        assert conv.geometry.pads
    else:
        assert larger.kernel == tuple(a + k + b for a, k, b in zip(begin, conv.kernel, end, strict=True))
        exactly(run(larger, x), run(conv, x))


def test_a_transposed_kernel_grows_evenly():
    conv = ConvMap(numbers(0, 2, 3, 2), numbers(1, 3), Geometry((2,), ((0, 0),), (1,), transposed=True))
    x = numbers(2, 1, 2, 5)

    exactly(run(pad_kernel(conv, (4,)), x), run(conv, x))
    assert isinstance(to_window(conv, (1,), (0,)), Refusal)


def test_a_1x1_stands_in_the_middle_of_a_3x3_and_not_of_a_2x2():
    conv = ConvMap(numbers(0, 2, 3, 1, 1), numbers(1, 2), Geometry((1, 1), ((0, 0),) * 2, (1, 1)))

    centred = pad_kernel(conv, (3, 3))

    assert centred.geometry.padding == ((1, 1), (1, 1))
    assert torch.equal(centred.weight[..., 1, 1], conv.weight[..., 0, 0])
    assert int(centred.weight.count_nonzero()) == int(conv.weight.count_nonzero())
    assert pad_kernel(conv, (2, 2)).code == "kernel-not-centred"


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
@pytest.mark.parametrize("groups", [None, 1, 2, 6])
def test_the_identity_gives_its_input_back(ndim, groups):
    x = numbers(0, 2, 6, *(4,) * ndim)
    identity = identity_map(6, ndim, groups)
    assert identity.plan == identity_plan(6, ndim, groups)
    exactly(run(identity, x), x)


@few
@given(st.data(), st.integers(1, 3), st.booleans(), seeds)
def test_average_pooling_is_a_depthwise_convolution(data, ndim, include, seed):
    kernel, stride = (data.draw(st.tuples(*(st.integers(1, 4),) * ndim)) for _ in range(2))
    padding = tuple(data.draw(st.integers(0, size // 2)) for size in kernel)
    x = numbers(seed, 1, 3, *(size + data.draw(st.integers(0, 4)) for size in kernel))

    pooled = average_pool_map(3, kernel, stride, padding, include, False)

    if any(padding) and not include:
        assert pooled.code == "average-excludes-padding"
    else:
        expected = POOL[ndim](x, kernel, stride, padding, False, include)
        fan_in = int(torch.tensor(kernel).prod())
        torch.testing.assert_close(run(pooled, x), expected, rtol=0, atol=2 * fan_in * 2**-53)


@pytest.mark.parametrize("size", range(4, 12))
def test_rounding_the_size_up_is_accepted_where_it_changes_nothing(size):
    x = numbers(size, 1, 2, size)

    pooled = average_pool_map(2, (4,), (3,), ((0, 0),), True, True, size=(size,))

    same = F.avg_pool1d(x, 4, 3, ceil_mode=True).shape == F.avg_pool1d(x, 4, 3).shape
    assert isinstance(pooled, ConvMap) == same
    assert average_pool_map(2, (4,), (3,), ((0, 0),), True, True).code == "ceil-mode"


def test_a_divisor_override_counts_for_the_padding_too():
    x = numbers(3, 1, 2, 6, 6)
    pooled = average_pool_map(2, (3, 3), (1, 1), (1, 1), False, False, divisor=8)
    exactly(run(pooled, x), F.avg_pool2d(x, 3, 1, 1, False, False, 8))


@pytest.mark.parametrize("order", [[(0, 0), (1, 0), (0, 1), (1, 1)], [(1, 1), (0, 0)], [(0, 0)], [(0, 1), (0, 1)]])
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (5, 4)])
def test_slices_of_blocks_are_a_one_hot_convolution(order, size):
    x = numbers(4, 2, 3, *size)
    slices = [x[..., dy::2, dx::2] for dy, dx in order]
    if len({part.shape for part in slices}) > 1:
        return  # torch.cat fails there: nothing to be equal to

    exactly(run(space_to_depth_map(3, 2, order), x), torch.cat(slices, 1))


def test_a_slice_outside_its_block_is_refused():
    assert space_to_depth_map(3, 2, [(0, 2)]).code == "offset-outside-block"


@pytest.mark.parametrize("sides", [((1, 2), (0, 3)), ((-1, -1), (0, 0)), ((-2, 1), (3, -1))])
def test_padding_and_cropping_is_a_convolution_that_pads_and_looks_past_the_border(sides):
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    flat = [side for pair in reversed(sides) for side in pair]

    lifted = pad_map(3, sides)

    assert torch.equal(run(lifted, x), F.pad(x, flat))
