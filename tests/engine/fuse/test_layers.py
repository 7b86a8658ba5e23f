"""Layers that are made here have what torch's own constructor gives them."""

import pytest
import torch
from torch import nn

from app.engine.algebra import Geometry
from app.engine.formats import read_file, write_file
from app.engine.fuse.layers import layer_name, layer_node, layer_refusal
from app.engine.ir.module import Module

LAYERS = [
    nn.Conv1d(4, 6, 3, 2, 1, 1, 2),
    nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="reflect"),
    nn.Conv3d(4, 6, 1),
    nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2),
    nn.ConvTranspose2d(4, 6, (2, 4), (1, 2)),
    nn.Linear(3, 5),
]


def geometry(layer) -> Geometry:
    if isinstance(layer, nn.Linear):
        return Geometry((), (), ())
    pads = tuple((p, p) for p in layer.padding)
    transposed, extra = layer.transposed, layer.output_padding
    return Geometry(layer.stride, pads, layer.dilation, layer.groups, layer.padding_mode, transposed, extra)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_new_layer_is_what_its_constructor_makes(layer, tmp_path):
    torch.save(nn.Sequential(nn.Identity()), tmp_path / "a.pt")
    file = read_file(tmp_path / "a.pt")
    node = layer_node(layer.weight.detach(), layer.bias.detach(), geometry(layer), None, training=False)
    Module(file.root).replace_child("0", node)
    write_file(file, file.root, tmp_path / "b.pt")
    made = torch.load(tmp_path / "b.pt", weights_only=False)[0]
    assert type(made) is type(layer)
    layer.eval()
    for name in vars(layer).keys() - {"_parameters", "_reversed_padding_repeated_twice"}:
        assert getattr(made, name) == getattr(layer, name), name
    if hasattr(layer, "_reversed_padding_repeated_twice"):
        assert made._reversed_padding_repeated_twice == list(layer._reversed_padding_repeated_twice)
    assert vars(made).keys() == vars(layer).keys()
    assert torch.equal(made.weight, layer.weight)
    assert torch.equal(made.bias, layer.bias)


def test_geometries_that_torch_has_no_layer_for_are_refused():
    uneven = Geometry((1,), ((0, 2),), (1,))
    assert layer_refusal((3,), uneven).code == "uneven-padding"
    assert layer_refusal((2,), Geometry((1,), ((0, 1),), (1,))) is None  # "same"
    assert layer_refusal((2,), Geometry((2,), ((0, 1),), (1,))).code == "uneven-padding"
    assert layer_refusal((), Geometry((), (), (), 2)).code == "grouped-linear"


def test_a_layer_is_named_as_the_report_shows_it():
    grouped = Geometry((2, 1), ((0, 0),) * 2, (1, 1), 2)
    assert layer_name((6, 2, 3, 5), grouped) == "Conv2d(4, 6, 3x5, stride 2, groups 2)"
    transposed = Geometry((1,), ((0, 0),), (1,), 2, transposed=True)
    assert layer_name((4, 3, 2), transposed) == "ConvTranspose1d(4, 6, 2, groups 2)"
    assert layer_name((5, 3), Geometry((), (), ())) == "Linear(3, 5)"
