"""A layer whose attributes its constructor would not let through is not followed, and nothing crashes on it."""

import pytest
import torch
from torch import nn

from tests.engine.nets import fuse, pair

WRONG = {
    nn.Conv2d: [
        ("stride", (1, 1, 1)),
        ("padding", True),
        ("padding", 100_000),
        ("groups", None),
        ("padding_mode", 1),
        ("weight", torch.zeros(4)),
        ("weight", torch.zeros(4, 4, 3, 3, dtype=torch.int64)),
        ("weight", torch.zeros(4, 4, 0, 3)),
        ("weight", "none"),
        ("bias", torch.zeros(7)),
        ("bias", "none"),
    ],
    nn.ConvTranspose2d: [
        ("output_padding", (3, 0)),
        ("padding", "same"),
        ("padding", 99),
        ("stride", None),
    ],
    nn.BatchNorm2d: [("running_mean", 3), ("weight", (1, 2))],
    nn.LeakyReLU: [("negative_slope", "steep"), ("negative_slope", float("inf"))],
    nn.GELU: [("approximate", "no")],
    nn.AvgPool2d: [("ceil_mode", 3), ("kernel_size", "two"), ("padding", (1, 1, 1)), ("count_include_pad", 2)],
    nn.LayerNorm: [("normalized_shape", (5,))],
    nn.GroupNorm: [("num_groups", 3), ("num_groups", "two"), ("num_groups", 0)],
    nn.Softmax: [("dim", 9), ("dim", "last")],
}
LAYERS = {
    nn.Conv2d: lambda: nn.Conv2d(4, 4, 3),
    nn.ConvTranspose2d: lambda: nn.ConvTranspose2d(4, 4, 3),
    nn.BatchNorm2d: lambda: nn.BatchNorm2d(4),
    nn.AvgPool2d: lambda: nn.AvgPool2d(2),
    nn.LayerNorm: lambda: nn.LayerNorm(15),
    nn.GroupNorm: lambda: nn.GroupNorm(2, 4),
    nn.Softmax: lambda: nn.Softmax(1),
}
CASES = [(kind, name, value) for kind, pairs in WRONG.items() for name, value in pairs]


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_a_layer_with_an_attribute_that_it_can_not_have_is_left_alone(kind, name, value, tmp_path):
    layer = LAYERS.get(kind, kind)()
    for table in (layer._parameters, layer._buffers, layer.__dict__):
        table.pop(name, None)
    layer.__dict__[name] = value
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), layer, nn.BatchNorm2d(4)).eval()

    result = fuse(model, tmp_path)

    assert [part.path for part in result.report.replaced] == ["0.0"]
    assert "2" in result.codes
    assert repr(result.loaded[1].__dict__[name]) == repr(value)


@pytest.mark.parametrize("name", ["", "a.b", 3, None])
def test_what_has_children_of_other_names_than_torch_allows_is_no_module(name, tmp_path):
    odd = nn.Sequential(nn.Conv2d(4, 4, 3))
    odd._modules[name] = nn.BatchNorm2d(4)
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), odd).eval()

    result = fuse({"model": model}, tmp_path)

    assert [part.path for part in result.report.replaced] == ["0.0"]
    assert list(result.loaded["model"][1]._modules) == ["0", name]
