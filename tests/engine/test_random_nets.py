"""Random chains of torch layers: whatever is fused computes the same, and the report counts right."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.engine.nets import BATCH_NORMS, CONVS, Fused, Unknown, counted, error, fuse, norm, tolerance

MODES = ("zeros", "zeros", "zeros", "reflect", "replicate", "circular")


@st.composite
def layers(draw, channels, depth=0):
    """One layer, or a Sequential of some, and the channels that come out."""
    kinds = ["conv", "conv", "conv", "norm", "norm", "act", "pool", "transposed", "none"]
    match draw(st.sampled_from([*kinds, "nest"] if depth < 2 else kinds)):
        case "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
            out = groups * draw(st.integers(1, 3))
            kernel, dilation = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 1, 2]))
            padding = draw(st.sampled_from([0, 0, 1, (0, 1), "same"]))
            stride = 1 if padding == "same" else draw(st.sampled_from([1, 1, 2]))
            mode, bias = draw(st.sampled_from(MODES)), draw(st.booleans())
            conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias, mode)
            return conv, out
        case "transposed":
            out = draw(st.integers(1, 3))
            return nn.ConvTranspose2d(channels, out, 2, draw(st.sampled_from([1, 2])), bias=draw(st.booleans())), out
        case "norm":
            options = draw(st.sampled_from([{}, {}, {}, {"affine": False}, {"track_running_stats": False}]))
            return norm(channels, **options), channels
        case "act":
            kind = draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.Sigmoid, lambda: nn.LeakyReLU(0.1, inplace=True)]))
            return kind(), channels
        case "pool":
            kind = draw(st.sampled_from([nn.AvgPool2d, nn.MaxPool2d]))
            return kind(draw(st.sampled_from([1, 2, 3])), 1, 0, ceil_mode=False), channels
        case "none":
            return draw(st.sampled_from([nn.Identity(), nn.Dropout()])), channels
    return draw(chains(channels, depth + 1))


@st.composite
def chains(draw, channels, depth=0):
    made = []
    for _ in range(draw(st.integers(0, 6 if depth == 0 else 3))):
        layer, channels = draw(layers(channels, depth))
        made.append(layer)
    return nn.Sequential(*made), channels


@st.composite
def models(draw):
    torch.manual_seed(draw(st.integers(0, 1000)))
    chain, _ = draw(chains(4))
    first = nn.Conv2d(4, 4, 1)
    model = nn.Sequential(first, nn.Tanh(), chain)
    return (Unknown(body=model) if draw(st.booleans()) else model).to(
        draw(st.sampled_from([torch.float32, torch.float64]))
    )


def _checked(model: nn.Module, result: Fused) -> None:
    summary, loaded = result.report.summary, result.loaded
    assert summary.batch_norms_after == counted(loaded, BATCH_NORMS)
    assert summary.convolutions_after == counted(loaded, CONVS)
    assert summary.parameters_after == sum(parameter.numel() for parameter in loaded.parameters())
    left = {name for name, part in loaded.named_modules() if isinstance(part, BATCH_NORMS)}
    assert left <= result.codes.keys()
    x = torch.randn(2, 4, 23, 19)
    dtype = next(model.parameters()).dtype
    assert error(model, loaded, x) < tolerance(dtype, 40)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@settings(max_examples=120, deadline=None)
@given(models())
def test_fused_chains_compute_the_same_and_are_counted_right(model):
    with torch.no_grad():
        try:
            if model.eval()(torch.randn(2, 4, 23, 19, dtype=next(model.parameters()).dtype)).numel() == 0:
                return
        except RuntimeError:  # reflect padding or a kernel that the map is too small for
            return
    with TemporaryDirectory() as directory:
        result = fuse(model, Path(directory))
        _checked(model, result)
        again = fuse(result.loaded, Path(directory))
        assert again.report.summary.layers_replaced == 0
