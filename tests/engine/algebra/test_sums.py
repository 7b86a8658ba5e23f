import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import (
    Branch,
    ConvMap,
    Geometry,
    Plan,
    Refusal,
    Sum,
    identity_sum,
    joined,
    merge_plan,
    round_sum,
)
from tests.engine.algebra.drawn import affine, apply, by_channel, exactly, few, numbers, run, seeds

CHANNELS = 8
# kernel, padding, dilation: all of them give the size of the input.
WINDOWS = (
    ((3, 3), ((1, 1), (1, 1)), (1, 1)),
    ((1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((1, 3), ((0, 0), (1, 1)), (1, 1)),
    ((3, 1), ((2, 2), (0, 0)), (2, 1)),
    ((2, 2), ((1, 0), (0, 1)), (1, 1)),
)


def branch(seed, groups, window, dtype):
    kernel, padding, dilation = window
    weight = numbers(seed, CHANNELS, CHANNELS // groups, *kernel).to(dtype)
    plan = Plan(tuple(weight.shape), Geometry((1, 1), padding, dilation, groups))
    return Branch(weight, numbers(seed + 1, CHANNELS), plan)


def run_branch(one, x):
    if one.weight is None:
        return x * by_channel(one.gain, x)
    bias = torch.zeros(CHANNELS, dtype=torch.float64)
    return run(ConvMap(one.weight.double(), bias, one.plan.geometry), x) * by_channel(one.gain, x)


def run_sum(total, x):
    return sum(run_branch(one, x) for one in total.branches) + by_channel(total.bias, x)


def rounded(total, dtype):
    plan = merge_plan([one.plan for one in total.branches])
    return round_sum(total, plan, dtype), plan.geometry


@few
@given(
    st.sampled_from((1, 2, 4, 8)),
    st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from((torch.float16, torch.float32, torch.float64)),
    st.integers(1, 4000),
    seeds,
)
def test_a_sum_is_its_branches_one_after_the_other(groups, windows, identity, dtype, block_bytes, seed):
    branches = tuple(branch(seed + 3 * i, groups, window, dtype) for i, window in enumerate(windows))
    inner = Sum(branches, numbers(seed, CHANNELS)).then(affine(seed, CHANNELS))
    total = joined([inner, identity_sum(CHANNELS, 2)]) if identity else inner
    total = total.then(affine(seed + 7, CHANNELS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.engine.algebra.sums.BLOCK_BYTES", block_bytes)
        (weight, bias), geometry = rounded(total, torch.float64)
    x = numbers(seed + 9, 2, CHANNELS, 5, 6)

    exactly(run(ConvMap(weight, bias, geometry), x), run_sum(total, x))


def test_an_affine_map_goes_into_a_sum():
    inner = Sum((branch(0, 2, WINDOWS[0], torch.float32),), numbers(1, CHANNELS))
    after, x = affine(5, CHANNELS), numbers(9, 1, CHANNELS, 4, 4)

    exactly(run_sum(inner.then(after), x), apply(after, run_sum(inner, x)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_sum_is_rounded_once_to_half_precision(dtype):
    half_step = torch.finfo(dtype).eps / 2
    plan = Plan((1, 1, 1), Geometry((1,), ((0, 0),), (1,)))
    parts = [Branch(torch.full((1, 1, 1), part), torch.ones(1).double(), plan) for part in (1.0, half_step, 2.0**-40)]

    weight, _ = round_sum(Sum(tuple(parts), torch.zeros(1).double()), plan, dtype)

    assert float(weight) == 1 + torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("dtype", "gain", "code"),
    [
        (torch.float16, 1e6, "overflow"),
        (torch.float32, float("nan"), "not-finite"),
        (torch.float16, 1e-9, "underflow"),
        (torch.float32, 1e-60, "underflow"),
    ],
)
def test_a_sum_that_its_dtype_cannot_hold_is_refused(dtype, gain, code):
    plan = Plan((2, 2, 1), Geometry((1,), ((0, 0),), (1,)))
    gains = torch.tensor([1.0, gain], dtype=torch.float64)
    total = Sum((Branch(torch.ones(2, 2, 1), gains, plan),) * 2, torch.zeros(2, dtype=torch.float64))

    refusal = round_sum(total, plan, dtype)

    assert isinstance(refusal, Refusal)
    assert refusal.code == code
