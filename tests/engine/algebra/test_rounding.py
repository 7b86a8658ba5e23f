from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import ConvMap, Geometry, representable, round_map, round_once, round_weight
from tests.engine.algebra.drawn import few, seeds

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def to_nearest(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Rounding by search: the nearest of three neighbours, ties to the even one; torch's conversion only starts it."""
    start = values.to(dtype)
    if dtype == torch.float64:
        return start
    bits = start.view(torch.int16 if dtype.itemsize == 2 else torch.int32)
    candidates = torch.stack([(bits + step).view(dtype) for step in (-1, 0, 1)])
    # Beyond the ends of the range the neighbours are no numbers: never the nearest.
    distance = (candidates.to(torch.float64) - values).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    odd = (candidates.view(bits.dtype) & 1).to(torch.bool)
    nearest = distance == distance.min(0).values
    choice = (nearest.to(torch.int8) * 2 - (nearest & odd).to(torch.int8)).argmax(0)
    return candidates.gather(0, choice[None])[0]


@few
@given(
    st.sampled_from(FLOATS),
    st.sampled_from(FLOATS),
    st.integers(0, 3),
    st.sampled_from((1, 2, 4)),
    st.booleans(),
    seeds,
)
def test_a_weight_is_scaled_in_float64_and_rounded_once(source, target, ndim, groups, transposed, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 4, *(3,) * ndim, generator=generator).to(source)
    out = 4 * groups if transposed else 8
    gain = torch.rand(out, generator=generator, dtype=torch.float64) + 0.5

    rounded = round_weight(weight, gain, target, transposed, groups)

    rows = torch.stack([gain[row * groups // 8 * 4 :][:4] for row in range(8)]) if transposed else gain[:, None]
    exact = weight.double() * rows.reshape(8, -1, *(1,) * ndim)
    assert rounded.dtype == target
    assert torch.equal(rounded, to_nearest(exact, target))


@pytest.mark.parametrize("target", [torch.float16, torch.bfloat16])
def test_a_number_just_beside_the_middle_of_two_halves_is_not_rounded_twice(target):
    middle = 1 + torch.finfo(target).eps / 2
    values = torch.tensor([middle + 2**-40, middle, middle - 2**-40, -middle - 2**-40], dtype=torch.float64)

    above = 1 + torch.finfo(target).eps
    assert round_once(values, target).tolist() == [above, 1.0, 1.0, -above]
    assert round_weight(torch.ones(4, 1), values, target).flatten().tolist() == [above, 1.0, 1.0, -above]


def test_half_precision_agrees_with_numpy_over_its_whole_range():
    generator = torch.Generator().manual_seed(1)
    exponents = torch.randint(-30, 16, (100_000,), generator=generator)
    values = torch.ldexp(torch.randn(100_000, generator=generator, dtype=torch.float64), exponents)

    with np.errstate(over="ignore"):
        expected = torch.from_numpy(values.numpy().astype(np.float16))

    assert torch.equal(round_once(values, torch.float16), expected)


@pytest.mark.parametrize("shape", [(300, 70, 3, 3), (3, 40_000, 1, 1), (1, 1, 1, 1), (5, 7, 3, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blocks_cover_the_weight_and_keep_its_memory_format(shape, layout):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    gain = torch.arange(shape[0], dtype=torch.float64) / 7

    rounded = round_weight(weight, gain, torch.float32)

    assert rounded.stride() == weight.stride()
    assert torch.equal(rounded, (weight.double() * gain[:, None, None, None]).float())


def test_a_view_that_overlaps_itself_is_read_and_not_imitated():
    weight = torch.randn(1, 4, 3, 3).expand(6, -1, -1, -1)

    rounded = round_weight(weight, torch.arange(6.0, dtype=torch.float64), torch.float32)

    assert rounded.is_contiguous()
    assert torch.equal(rounded[2], weight[0] * 2)


def a_map(weight, bias):
    return ConvMap(weight, bias, Geometry((1,), ((0, 0),), (1,)))


def test_a_map_rounds_to_a_pair_and_leaves_its_own_numbers_alone():
    conv = a_map(torch.full((2, 3, 1), 1 / 3, dtype=torch.float64), torch.full((2,), 0.1, dtype=torch.float64))
    before = conv.weight.clone()

    for dtype in FLOATS:
        weight, bias = round_map(conv, dtype)
        assert torch.equal(weight, to_nearest(conv.weight, dtype))
        assert torch.equal(bias, to_nearest(conv.bias, dtype))
        assert weight.data_ptr() != conv.weight.data_ptr()
    assert torch.equal(conv.weight, before)


def test_numbers_that_fit_are_representable():
    conv = a_map(torch.eye(4, dtype=torch.float64)[..., None], torch.full((4,), 1e-30, dtype=torch.float64))
    weight, bias = round_map(conv, torch.float16)
    assert representable(conv.weight, weight) is None
    assert representable(conv.bias, bias) is None  # a tiny bias may become zero


def test_an_overflow_is_refused_with_the_largest_number():
    values = torch.tensor([[1.0, 70000.0]], dtype=torch.float64)

    refusal = representable(values, values.half())

    assert refusal.code == "overflow"
    assert "1 of 2" in refusal.reason
    assert "7e+04" in refusal.reason
    assert "float16" in refusal.reason


def test_a_weight_that_was_infinite_before_is_named_so():
    values = torch.tensor([[1.0, torch.nan]], dtype=torch.float64)
    assert representable(values, values.float()).code == "not-finite"


def test_a_channel_that_becomes_zero_is_refused():
    values = torch.ones(10, 4, dtype=torch.float64)
    values[3] = 1e-9

    refusal = representable(values, values.half())

    assert refusal.code == "underflow"
    assert "4 of 40" in refusal.reason
    assert "1 of 10" in refusal.reason


def test_most_weights_becoming_zero_is_refused_and_a_few_are_not():
    values = torch.ones(2, 10, dtype=torch.float64)
    values[:, :4] = 1e-9
    assert representable(values, values.half()) is None
    values[:, :6] = 1e-9
    assert representable(values, values.half()).code == "underflow"


def test_a_gain_of_zero_is_meant_and_a_tiny_one_is_not():
    weight = torch.ones(2, 3, 1)
    for gain, expected in ((0.0, None), (1e-60, "underflow"), (1e60, "overflow")):
        gains = torch.tensor([1.0, gain], dtype=torch.float64)
        refusal = representable(weight, round_weight(weight, gains, torch.float32), gain=gains)
        assert (refusal.code if refusal else None) == expected


def test_the_channels_of_a_transposed_weight_are_told_apart():
    values = torch.ones(4, 3, 2, dtype=torch.float64)  # two groups: input channels 2 and 3 lead to outputs 3 to 5
    values[2:, 1] = 1e-9

    refusal = representable(values, values.half(), transposed=True, groups=2)

    assert "1 of 6 channels" in refusal.reason
    assert representable(values, values.half()) is None


def test_rounding_knows_nothing_of_geometry():
    conv = a_map(torch.ones(2, 2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    padded = replace(conv, geometry=replace(conv.geometry, padding=((1, 1),)))
    assert torch.equal(round_map(conv, torch.float32).weight, round_map(padded, torch.float32).weight)
