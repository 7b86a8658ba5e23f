"""Comparisons that nothing fools: small channels, NaN, infinities, other shapes."""

from math import inf, nan

import pytest
import torch

from app.engine.verify.compare import absolute_error, relative_error, silent


def test_equal_results_have_no_error():
    x = torch.randn(2, 3, 4)
    assert relative_error((x, [x]), (x.clone(), [x.clone()])) == 0.0
    assert relative_error([], []) == 0.0
    assert relative_error(torch.zeros(0, 3), torch.zeros(0, 3)) == 0.0


def test_a_wrong_small_channel_is_not_hidden_by_a_large_one():
    reference = torch.ones(2, 2, 5, dtype=torch.float64)
    reference[:, 0] *= 500
    result = reference.clone()
    result[:, 1] *= 1.01
    assert relative_error(result, reference) == pytest.approx(0.01)
    last = reference.movedim(1, -1)
    assert relative_error(result.movedim(1, -1), last) == pytest.approx(0.01)


def test_the_smallest_channels_are_still_seen():
    reference = torch.ones(1, 2, 3, dtype=torch.float64)
    reference[:, 1] = 1e-9
    result = reference.clone()
    result[:, 1] = 2e-9
    assert relative_error(result, reference) > 1e-6


@pytest.mark.parametrize("odd", [nan, inf, -inf])
def test_an_odd_number_on_one_side_is_an_infinite_error(odd):
    reference = torch.ones(2, 3)
    result = reference.clone()
    result[0, 1] = odd
    assert relative_error(result, reference) == inf
    assert relative_error(reference, result) == inf
    assert absolute_error(result, reference) == inf


@pytest.mark.parametrize("odd", [nan, inf, -inf])
def test_the_same_odd_number_on_both_sides_leaves_the_others_to_be_compared(odd):
    reference = torch.ones(2, 3)
    reference[0, 1] = odd
    result = reference.clone()
    assert relative_error(result, reference) == 0.0
    result[1, 2] = 1.5
    assert relative_error(result, reference) == pytest.approx(0.5)
    assert absolute_error(result, reference) == pytest.approx(0.5)


def test_opposite_infinities_differ():
    assert relative_error(torch.tensor([[inf]]), torch.tensor([[-inf]])) == inf


@pytest.mark.parametrize("result", [torch.ones(2, 3), [torch.ones(3, 2), torch.ones(1)], []])
def test_other_shapes_are_an_infinite_error(result):
    assert relative_error(result, torch.ones(3, 2)) == inf


def test_anything_beside_zero_is_an_infinite_error():
    assert relative_error(torch.tensor([[0.0, 1e-30]]), torch.zeros(1, 2)) == inf
    assert relative_error(torch.zeros(1, 2), torch.zeros(1, 2)) == 0.0


def test_denormal_references_give_no_false_zero():
    reference = torch.full((1, 2), 1e-320, dtype=torch.float64)
    assert relative_error(2 * reference, reference) > 0.5


def test_outputs_without_a_finite_number_are_silent():
    assert silent([torch.ones(2), torch.full((2, 2), nan)])
    assert not silent([torch.tensor([nan, 1.0]), torch.ones(0)])
