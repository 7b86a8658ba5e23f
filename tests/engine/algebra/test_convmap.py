import pytest
import torch

from app.engine.algebra import Affine, ConvMap, Geometry
from tests.engine.algebra.drawn import numbers

ONE_D = ((1,), ((0, 0),), (1,))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"padding": ((-1, 0),)}, "negative"),
        ({"stride": (0,)}, "at least 1"),
        ({"dilation": (0,)}, "at least 1"),
        ({"groups": 0}, "at least 1"),
        ({"padding": ((0, 0), (0, 0))}, "differ in length"),
        ({"padding_mode": "mirror"}, "mirror"),
        ({"output_padding": (1,)}, "only a transposed"),
        ({"transposed": True, "padding": ((0, 1),)}, "even padding"),
        ({"transposed": True, "padding_mode": "reflect"}, "mode zeros"),
        ({"transposed": True, "output_padding": (1,)}, "must be smaller"),
    ],
)
def test_a_geometry_that_no_convolution_has_is_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        Geometry(**{"stride": (1,), "padding": ((0, 0),), "dilation": (1,), **wrong})


@pytest.mark.parametrize(
    ("weight", "bias", "geometry", "reason"),
    [
        (numbers(0, 4, 2, 3), numbers(1, 3), Geometry(*ONE_D), "fit together"),
        (numbers(0, 4, 2), numbers(1, 4), Geometry(*ONE_D), "spatial dimensions"),
        (numbers(0, 3, 2, 3), numbers(1, 3), Geometry(*ONE_D, groups=2), "fit together"),
        (numbers(0, 4, 2, 3).float(), numbers(1, 4).float(), Geometry(*ONE_D), "float64"),
        (numbers(0, 4, 0, 3), numbers(1, 4), Geometry(*ONE_D), "spatial dimensions"),
    ],
)
def test_a_map_whose_parts_do_not_fit_is_refused(weight, bias, geometry, reason):
    with pytest.raises(ValueError, match=reason):
        ConvMap(weight, bias, geometry)


def test_channels_are_read_in_the_layout_of_a_transposed_convolution():
    geometry = Geometry((2,), ((1, 1),), (1,), 2, transposed=True)
    conv = ConvMap(numbers(0, 6, 4, 3), numbers(1, 8), geometry)

    assert (conv.in_channels, conv.out_channels, conv.kernel) == (6, 8, (3,))
    assert conv.plan.parameters == 6 * 4 * 3 + 8


def test_a_padded_or_strided_1x1_is_not_pointwise():
    assert Geometry(*ONE_D).pointwise((1,))
    assert not Geometry((1,), ((1, 1),), (1,)).pointwise((1,))
    assert not Geometry((2,), ((0, 0),), (1,)).pointwise((1,))
    assert not Geometry(*ONE_D).pointwise((3,))


def test_affine_maps_compose_in_order():
    one, two = Affine(numbers(1, 5), numbers(2, 5)), Affine(numbers(3, 5), numbers(4, 5))
    x = numbers(5, 5)

    joint = one.then(two)

    assert torch.equal(joint.scale * x + joint.shift, two.scale * (one.scale * x + one.shift) + two.shift)
