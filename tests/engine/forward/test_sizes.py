"""Sizes of maps beside what torch makes of them, and the sentences for what torch would not run."""

import pytest
import torch
import torch.nn.functional as F

from app.engine.forward.sizes import conv_sizes, transposed_sizes

_MAPS, _WEIGHT = (2, 4, 9, 7), (6, 4, 3, 2)
_EVEN, _NONE, _ONE = ((1, 1), (1, 1)), ((0, 0), (0, 0)), (1, 1)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_sizes_are_those_that_torch_gives(stride, dilation):
    x, weight = torch.zeros(_MAPS), torch.zeros(_WEIGHT)
    expected = F.conv2d(x, weight, None, stride, (1, 1), dilation).shape[2:]
    assert conv_sizes(_MAPS, _WEIGHT, stride, _EVEN, dilation, "zeros") == expected


def test_transposed_sizes_are_those_that_torch_gives():
    x, weight = torch.zeros(_MAPS), torch.zeros(4, 6, 3, 2)
    expected = F.conv_transpose2d(x, weight, None, (2, 3), (1, 0), (1, 2), 1, (1, 2)).shape[2:]
    assert transposed_sizes(_MAPS, (4, 6, 3, 2), (2, 3), (1, 0), (1, 2), (1, 2)) == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((2, 4), _WEIGHT, _ONE, _NONE, _ONE, "zeros"), "meets a convolution"),
        (((2, 4, 9), _WEIGHT, _ONE, _NONE, _ONE, "zeros"), "meets a convolution"),
        (((2, 4, 2, 7), _WEIGHT, _ONE, _NONE, _ONE, "zeros"), "smaller than the kernel"),
        (((2, 4, 9, 0), _WEIGHT, _ONE, _EVEN, _ONE, "zeros"), "empty"),
        ((_MAPS, _WEIGHT, (1,), _NONE, _ONE, "zeros"), "not those of a kernel"),
        ((_MAPS, _WEIGHT, (0, 1), _NONE, _ONE, "zeros"), "not those of a kernel"),
        ((_MAPS, _WEIGHT, _ONE, _NONE, (1, -1), "zeros"), "not those of a kernel"),
        ((_MAPS, _WEIGHT, _ONE, ((0, 0), (-1, 0)), _ONE, "zeros"), "is none"),
        ((_MAPS, _WEIGHT, _ONE, ((None, None), (0, 0)), _ONE, "zeros"), "is none"),
        ((_MAPS, _WEIGHT, _ONE, ((9, 0), (0, 0)), _ONE, "reflect"), "too small to be padded"),
        ((_MAPS, _WEIGHT, _ONE, ((0, 0), (0, 8)), _ONE, "circular"), "too small to be padded"),
        ((_MAPS, _WEIGHT, _ONE, _EVEN, _ONE, "mirror"), "not known"),
    ],
)
def test_what_torch_would_not_run_has_a_sentence(arguments, sentence):
    assert sentence in conv_sizes(*arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((2, 4), (4, 6, 3), (1,), (0,), (0,), (1,)), "meets a convolution"),
        (((2, 4, 5), (4, 6, 3), (1,), (4,), (0,), (1,)), "nothing is left"),
        (((2, 4, 5), (4, 6, 3), (1,), (0,), (1,), (1,)), "output padding"),
        (((2, 4, 5), (4, 6, 3), (1,), (0,), (-1,), (1,)), "is none"),
    ],
)
def test_what_torch_would_not_run_transposed_has_a_sentence(arguments, sentence):
    assert sentence in transposed_sizes(*arguments)
