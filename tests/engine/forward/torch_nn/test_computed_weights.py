"""Weight norm and spectral norm of torch.nn.utils, saved by torch itself: evaluated once, and then plain layers."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.engine.nets import Unknown, error, fuse, norm, tolerance

_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3),
    "conv-without-bias": lambda: nn.Conv2d(3, 6, 3, stride=2, bias=False),
    "conv-1d": lambda: nn.Conv1d(3, 6, 5),
    "transposed": lambda: nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1),
    "linear": lambda: nn.Linear(3, 6),
}
_SHAPES = {"conv-1d": (2, 3, 20), "linear": (2, 3)}


def weight_norm(layer: nn.Module, dim: int | None = 0) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and in many files
        normed = nn.utils.weight_norm(layer, dim=dim)
    nn.init.uniform_(normed.weight_g, 0.5, 2)
    return normed.eval()


def spectral_norm(layer: nn.Module) -> nn.Module:
    normed = nn.utils.spectral_norm(layer, n_power_iterations=3)
    with torch.no_grad():
        nn.init.normal_(normed.weight_orig)
        normed(torch.randn(_shape_of(layer)))
    return normed.eval()


def _shape_of(layer: nn.Module) -> tuple[int, ...]:
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    return (2, channels, *(9,) * (layer.weight.ndim - 2))


@pytest.mark.parametrize("name", _LAYERS)
@pytest.mark.parametrize("norm_of", [weight_norm, spectral_norm])
def test_a_layer_in_a_class_that_nobody_knows_becomes_plain(norm_of, name, tmp_path) -> None:
    layer = norm_of(_LAYERS[name]())
    net = Unknown(layer=layer, act=nn.ReLU())
    kept = "bias" in dict(layer.named_parameters())

    done = fuse(net, tmp_path)

    plain = done.loaded.layer
    assert type(plain) is type(layer)
    assert not plain._forward_pre_hooks
    assert not plain._state_dict_hooks
    assert not plain._load_state_dict_pre_hooks
    assert set(plain.state_dict()) == ({"weight", "bias"} if kept else {"weight"})
    assert "weight" not in plain.__dict__
    assert not done.report.replaced[0].assumed
    assert done.report.summary.parameters_after <= done.report.summary.parameters_before
    assert error(net, done.loaded, torch.randn(_SHAPES.get(name, (2, 3, 9, 7)))) < tolerance(torch.float32)


@pytest.mark.parametrize("dim", [0, 1, 2, None])
def test_the_norm_is_taken_over_all_dimensions_but_the_one_that_was_named(dim, tmp_path) -> None:
    net = nn.Sequential(weight_norm(nn.Conv2d(3, 6, 3), dim))

    done = fuse(net, tmp_path)

    assert len(done.report.replaced) == 1
    assert error(net, done.loaded, torch.randn(2, 3, 9, 7)) < tolerance(torch.float32)


@pytest.mark.parametrize("norm_of", [weight_norm, spectral_norm])
def test_a_batch_norm_behind_it_is_folded_as_into_any_convolution(norm_of, tmp_path) -> None:
    net = nn.Sequential(norm_of(nn.Conv2d(3, 6, 3)), norm(6), nn.ReLU(), norm_of(nn.Conv2d(6, 4, 3))).eval()

    done = fuse(net, tmp_path)

    assert (done.report.summary.batch_norms_before, done.report.summary.batch_norms_after) == (1, 0)
    assert len(done.report.replaced) == 2
    assert done.report.equivalence.identity.relative < 1e-11
    assert error(net, done.loaded, torch.randn(2, 3, 9, 7)) < tolerance(torch.float32)


def test_a_layer_that_serves_twice_and_one_with_another_hook_are_left_alone(tmp_path) -> None:
    twice, hooked = weight_norm(nn.Conv2d(3, 3, 3)), weight_norm(nn.Conv2d(3, 3, 3))
    hooked.register_forward_pre_hook(_hook)
    net = Unknown(first=twice, second=twice, third=hooked)

    done = fuse(net, tmp_path)

    assert not done.report.replaced
    assert len(done.loaded.third._forward_pre_hooks) == 2
    assert done.loaded.first is done.loaded.second


def _hook(module: nn.Module, inputs: object) -> None:
    return None


def test_a_plain_layer_alone_is_left_alone(tmp_path) -> None:
    done = fuse(Unknown(layer=nn.Conv2d(3, 6, 3), act=nn.ReLU()), tmp_path)

    assert not done.report.replaced
