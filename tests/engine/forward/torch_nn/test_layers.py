"""Descriptions of torch.nn layers against torch itself."""

import pytest
import torch
from torch import nn

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import BatchNorm
from tests.engine.forward.inert import outputs, read

_LINE, _MAP, _BOX = (2, 4, 15), (2, 4, 9, 11), (2, 4, 5, 6, 7)

_LAYERS = {
    "conv 1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), _LINE),
    "conv same": (nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2)), _MAP),
    "conv valid": (nn.Conv2d(4, 6, 3, padding="valid", bias=False), _MAP),
    "conv grouped": (nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 2), groups=2), _MAP),
    "conv reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), _MAP),
    "conv circular same": (nn.Conv2d(4, 6, 4, padding="same", padding_mode="circular"), _MAP),
    "conv 3d": (nn.Conv3d(4, 6, 3, padding=(0, 1, 2)), _BOX),
    "conv transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), _LINE),
    "conv transposed": (nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, groups=2, dilation=2), _MAP),
    "conv transposed 3d": (nn.ConvTranspose3d(4, 6, 2, bias=False), _BOX),
    "linear": (nn.Linear(11, 3), _MAP),
    "batch norm 1d, flat": (nn.BatchNorm1d(4), (5, 4)),
    "batch norm 1d, line": (nn.BatchNorm1d(4, eps=0.1), _LINE),
    "batch norm 2d": (nn.BatchNorm2d(4, affine=False), _MAP),
    "batch norm 3d": (nn.BatchNorm3d(4), _BOX),
    "batch norm, no statistics": (nn.BatchNorm2d(4, track_running_stats=False), _MAP),
    "instance norm": (nn.InstanceNorm2d(4), _MAP),
    "instance norm, affine": (nn.InstanceNorm1d(4, eps=0.1, affine=True), _LINE),
    "instance norm of statistics": (nn.InstanceNorm3d(4, affine=True, track_running_stats=True), _BOX),
    "layer norm": (nn.LayerNorm((9, 11)), _MAP),
    "group norm": (nn.GroupNorm(2, 4), _MAP),
    "identity": (nn.Identity(), _MAP),
    "dropout": (nn.Dropout2d(0.9), _MAP),
    "silu": (nn.SiLU(inplace=True), _MAP),
    "relu": (nn.ReLU(), _MAP),
    "relu6": (nn.ReLU6(), _MAP),
    "leaky relu": (nn.LeakyReLU(0.3), _MAP),
    "gelu": (nn.GELU(), _MAP),
    "gelu tanh": (nn.GELU(approximate="tanh"), _MAP),
    "hardswish": (nn.Hardswish(), _MAP),
    "hardsigmoid": (nn.Hardsigmoid(), _MAP),
    "hardtanh": (nn.Hardtanh(-0.5, 0.25), _MAP),
    "sigmoid": (nn.Sigmoid(), _MAP),
    "tanh": (nn.Tanh(), _MAP),
    "mish": (nn.Mish(), _MAP),
    "elu": (nn.ELU(0.7), _MAP),
    "softplus": (nn.Softplus(beta=2), _MAP),
    "prelu": (nn.PReLU(4), _MAP),
    "softmax": (nn.Softmax(dim=2), _MAP),
    "max pool": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), _MAP),
    "max pool 1d": (nn.MaxPool1d(2), _LINE),
    "max pool 3d": (nn.MaxPool3d(2, dilation=2), _BOX),
    "average pool": (nn.AvgPool2d((3, 2), 2, padding=1, count_include_pad=False), _MAP),
    "average pool 1d": (nn.AvgPool1d(3, ceil_mode=True), _LINE),
    "average pool 3d": (nn.AvgPool3d(2), _BOX),
    "average pool, own divisor": (nn.AvgPool2d(3, divisor_override=5), _MAP),
    "adaptive average pool": (nn.AdaptiveAvgPool2d((1, 3)), _MAP),
    "adaptive max pool": (nn.AdaptiveMaxPool1d(4), _LINE),
    "upsample nearest": (nn.Upsample(scale_factor=2), _MAP),
    "upsample bilinear": (nn.Upsample(size=(13, 20), mode="bilinear", align_corners=True), _MAP),
    "flatten": (nn.Flatten(1, 2), _MAP),
    "zero pad": (nn.ZeroPad2d((1, 2, 0, 3)), _MAP),
    "constant pad": (nn.ConstantPad1d(2, 1.5), _LINE),
    "reflection pad": (nn.ReflectionPad2d(2), _MAP),
    "replication pad": (nn.ReplicationPad3d(1), _BOX),
    "pixel shuffle": (nn.PixelShuffle(2), _MAP),
    "channel shuffle": (nn.ChannelShuffle(2), _MAP),
    "sequential": (nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)), _MAP),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own, and meant here
@pytest.mark.parametrize("name", _LAYERS)
def test_a_layer_computes_what_torch_computes(name, tmp_path) -> None:
    layer, shape = _LAYERS[name]
    torch.manual_seed(0)
    for norm in layer.modules():
        if getattr(norm, "running_mean", None) is not None:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.1, 2)
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64)

    (found,) = outputs(read(layer.train(), tmp_path), [x])

    with torch.no_grad():
        torch.testing.assert_close(found, layer.eval()(x.clone()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_computes_what_torch_computes(batch_first, bias, tmp_path) -> None:
    attention = nn.MultiheadAttention(12, 3, bias=bias, batch_first=batch_first).double().eval()
    x = torch.randn(5, 7, 12, dtype=torch.float64)

    (found,) = outputs(read(attention, tmp_path), [x])

    with torch.no_grad():
        torch.testing.assert_close(found, attention(x, x, x)[0], rtol=1e-12, atol=1e-12)


def test_attention_with_keys_of_another_width_is_refused(tmp_path) -> None:
    attention = nn.MultiheadAttention(12, 3, kdim=8)

    with pytest.raises(UnknownFlow) as refused:
        trace(read(attention, tmp_path), [(5, 7, 12)], family_of)

    assert refused.value.code == "structure-differs"


def test_a_batch_norm_without_statistics_says_that_it_depends_on_the_batch(tmp_path) -> None:
    norm = read(nn.BatchNorm2d(4, track_running_stats=False), tmp_path)

    (node,) = trace(norm, [_MAP], family_of).graph.nodes

    assert isinstance(node.operation, BatchNorm)
    assert node.operation.mean is None
    assert node.operation.var is None


def test_an_old_layer_that_lacks_later_attributes_is_read_with_their_defaults(tmp_path) -> None:
    conv = nn.Conv2d(4, 6, 3).double()
    x = torch.randn(_MAP, dtype=torch.float64)
    old = read(conv, tmp_path)
    del old.state["padding_mode"]

    (found,) = outputs(old, [x])

    torch.testing.assert_close(found, conv(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.ReLU(), nn.Conv1d(5, 3, 1)), (2, 5, 67)),
        (nn.Sequential(nn.Conv2d(6, 3, 1, groups=3)), (2, 6, 37, 33)),
        (nn.Sequential(nn.BatchNorm3d(5), nn.Conv3d(5, 3, 1)), (2, 5, 11, 9, 7)),
        (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), (2, 5)),
        (nn.Sequential(nn.Conv1d(1, 3, 80, stride=4)), (2, 1, 96)),
        (nn.Sequential(nn.Conv2d(1, 3, (1, 41), dilation=(9, 2))), (2, 1, 37, 89)),
        (nn.Sequential(nn.Conv2d(1, 3, 2, dilation=1000)), (2, 1, 37, 33)),
    ],
)
def test_a_sequential_is_tried_with_what_its_first_layer_takes(module, shape, tmp_path) -> None:
    inert = read(module, tmp_path)

    assert family_of(inert).example_shapes(inert) == (shape,)


def test_a_sequential_of_layers_without_channels_has_no_example(tmp_path) -> None:
    inert = read(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), tmp_path)

    assert family_of(inert).example_shapes(inert) is None


@pytest.mark.parametrize(
    "odd",
    [
        nn.Conv1d(4, 4, 1),
        nn.ConvTranspose2d(4, 4, 1),
        nn.BatchNorm2d(4),
        nn.BatchNorm3d(4),
        nn.InstanceNorm1d(4),
        nn.AvgPool2d(2),
        nn.AvgPool1d(2),
        nn.LayerNorm((3, 4)),
        nn.GroupNorm(2, 8),
        nn.PReLU(3),
        nn.Softmax(dim=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_does_not_take_the_example_is_named(odd, tmp_path) -> None:
    with pytest.raises(UnknownFlow) as refused:
        trace(read(nn.Sequential(nn.ReLU(), odd), tmp_path), [(2, 4)], family_of)

    assert (refused.value.path, refused.value.code) == ("1", "shapes-differ")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_a_dtype_that_the_algebra_does_not_widen_are_refused(dtype, tmp_path) -> None:
    conv = nn.Conv2d(4, 4, 1, bias=False)
    conv.weight = nn.Parameter(conv.weight.detach().to(dtype), requires_grad=False)
    with pytest.raises(UnknownFlow) as refused:
        trace(read(conv, tmp_path), [_MAP], family_of)

    assert refused.value.code == "dtype-not-described"
