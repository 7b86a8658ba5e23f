"""Weight norm and spectral norm in state dicts, as torch.nn.utils leaves them: computed once, by the caller's plan."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

from app.engine import fuse_checkpoint
from app.errors import InvalidPlan, UnsupportedContent
from app.options import FuseOptions
from tests.engine.weights.nets import randomised

_LAYERS = {
    "conv": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "conv-without-bias": lambda: nn.Conv2d(3, 6, 3, bias=False),
    "conv-1d": lambda: nn.Conv1d(3, 6, 5),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
    "linear": lambda: nn.Linear(3, 6),
}


def hooked_weight_norm(layer, dim=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and in many files
        made = nn.utils.weight_norm(layer, dim=dim)
    nn.init.uniform_(made.weight_g, 0.5, 2)
    return made


def weight_norm(layer, dim=0):
    made = parametrizations.weight_norm(layer, dim=dim)
    nn.init.uniform_(made.parametrizations.weight.original0, 0.5, 2)
    return made


def hooked_spectral_norm(layer, **options):
    made = nn.utils.spectral_norm(layer, n_power_iterations=3, **options)
    with torch.no_grad():
        made(
            torch.randn(2, layer.weight.shape[1] if isinstance(layer, nn.Linear) else layer.in_channels, *_room(layer))
        )
    return made


def spectral_norm(layer, **options):
    return parametrizations.spectral_norm(layer, **options)


def _room(layer):
    return (9,) * (layer.weight.ndim - 2)


def weight_of(layer):
    """What torch computes: hooks do so when the layer is called."""
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    with torch.no_grad():
        layer(torch.zeros(2, channels, *_room(layer), dtype=next(layer.parameters()).dtype))
    return layer.weight.detach().clone()


_NORMS = {
    "weight_norm": (hooked_weight_norm, weight_norm),
    "spectral_norm": (hooked_spectral_norm, spectral_norm),
}
_CASES = [pytest.param(kind, make, id=make.__name__) for kind, both in _NORMS.items() for make in both]


def fused(state, plan, tmp_path, name="net.pth", **options):
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    save_file(state, source) if name.endswith(".safetensors") else torch.save(state, source)
    report = fuse_checkpoint(source, target, FuseOptions(plan=json.dumps(plan), **options), filename=name)
    load = load_file if name.endswith(".safetensors") else torch.load
    return report, load(target)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("layer", _LAYERS)
@pytest.mark.parametrize(("kind", "make"), _CASES)
def test_the_weight_is_the_one_that_torch_computes(kind, make, layer, name, tmp_path):
    net = nn.ModuleDict({"first": make(_LAYERS[layer]()), "last": nn.Linear(4, 4)}).eval()
    state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    expected = weight_of(net.double()["first"])

    report, after = fused(
        state, {kind: {"dim": 1 if layer == "transposed" and kind == "spectral_norm" else None}}, tmp_path, name
    )

    plain = _LAYERS[layer]()
    plain.load_state_dict({key[6:]: value for key, value in after.items() if key.startswith("first.")}, strict=True)
    torch.testing.assert_close(plain.weight.double(), expected, rtol=4 * 2**-23, atol=1e-9)
    assert after["last.weight"].equal(state["last.weight"])
    assert report.equivalence.identity.relative < 1e-11
    assert [part.path for part in report.replaced] == ["first"]


@pytest.mark.parametrize("make", [hooked_weight_norm, weight_norm])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
def test_the_dimension_of_weight_norm_follows_from_the_shape_of_g(dim, make, tmp_path):
    net = nn.Sequential(make(nn.Conv2d(4, 4, 3), dim)).eval()
    expected = weight_of(net[0])

    _, after = fused(net.state_dict(), {"weight_norm": ["0"]}, tmp_path)

    torch.testing.assert_close(after["0.weight"], expected)


@pytest.mark.parametrize(("kind", "make"), _CASES)
def test_a_pair_folds_its_norm_into_the_computed_weight(kind, make, tmp_path):
    net = randomised(nn.Sequential(make(nn.Conv2d(3, 6, 3, bias=False)), nn.BatchNorm2d(6), make(nn.Conv2d(6, 4, 1))))
    plain = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Identity(), nn.Conv2d(6, 4, 1))

    report, after = fused(net.state_dict(), {kind: "all", "pairs": [{"conv": "0", "norm": "1"}]}, tmp_path)

    plain.load_state_dict(after, strict=True)
    x = torch.randn(2, 3, 9, 7)
    torch.testing.assert_close(plain(x), net(x), rtol=2e-5, atol=2e-6)
    assert [name[0] for name in after] == ["0", "0", "2", "2"]
    assert report.equivalence.identity.relative < 1e-11


@pytest.mark.parametrize("make", [hooked_spectral_norm, spectral_norm])
def test_a_square_weight_with_spectral_norm_needs_the_dimension_to_be_said(make, tmp_path):
    net = nn.ModuleDict({"up": make(nn.ConvTranspose2d(4, 4, 1)), "conv": make(nn.Conv2d(4, 4, 1))}).eval()
    expected = weight_of(net["up"]), weight_of(net["conv"])

    with pytest.raises(InvalidPlan, match="along dimension 0 or 1"):
        fused(net.state_dict(), {"spectral_norm": "all"}, tmp_path)
    _, after = fused(net.state_dict(), {"spectral_norm": {"dim": {"up": 1, "conv": 0}}}, tmp_path)

    torch.testing.assert_close(after["up.weight"], expected[0])
    torch.testing.assert_close(after["conv.weight"], expected[1])


def test_only_the_layers_that_are_named_are_computed(tmp_path):
    net = nn.Sequential(weight_norm(nn.Conv2d(3, 6, 3)), weight_norm(nn.Conv2d(6, 4, 1))).eval()

    _, after = fused(net.state_dict(), {"weight_norm": ["1"]}, tmp_path)

    assert "0.parametrizations.weight.original0" in after
    assert "1.weight" in after


def test_a_direction_of_no_length_is_named(tmp_path):
    net = nn.Sequential(hooked_weight_norm(nn.Conv2d(3, 6, 3))).eval()
    with torch.no_grad():
        net[0].weight_v[2] = 0

    with pytest.raises(UnsupportedContent, match=r"0\.weight"):
        fused(net.state_dict(), {"weight_norm": "all"}, tmp_path)


def test_half_precision_is_kept_and_the_norm_taken_in_double(tmp_path):
    net = nn.Sequential(hooked_weight_norm(nn.Conv2d(3, 6, 3))).half().eval()
    direction, magnitude = net[0].weight_v.double(), net[0].weight_g.double()

    _, after = fused(net.state_dict(), {"weight_norm": "all"}, tmp_path)

    exact = magnitude * direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
    assert after["0.weight"].dtype == torch.float16
    torch.testing.assert_close(after["0.weight"], exact.half(), rtol=0, atol=0)


def test_layers_that_share_their_parts_are_left_and_the_report_says_so(tmp_path):
    state = nn.Sequential(hooked_weight_norm(nn.Conv2d(3, 6, 3))).state_dict()
    state = {**state, **{name.replace("0.", "1.", 1): tensor for name, tensor in state.items()}}

    report, after = fused(state, {"weight_norm": "all"}, tmp_path)

    assert set(after) == set(state)
    assert {part.code for part in report.refused} == {"weights-shared"}


@pytest.mark.parametrize(
    ("plan", "change", "said"),
    [
        ({"weight_norm": ["0", "0"]}, {}, "twice"),
        ({"weight_norm": ["0"], "spectral_norm": ["0"]}, {}, "twice"),
        ({"weight_norm": ["1"]}, {}, "parts of a weight with weight norm"),
        ({"weight_norm": ["9"]}, {}, "no module"),
        ({"spectral_norm": "all"}, {}, "no layer whose weight is held so"),
        ({"weight_norm": "some"}, {}, "weight_norm"),
        ({"weight_norm": []}, {}, "weight_norm"),
        ({"weight_norm": {"dim": 9}}, {}, "weight_norm"),
        ({"weight_norm": "all"}, {"0.weight_g": torch.ones(5, 1, 1, 1)}, "do not make a weight"),
        ({"weight_norm": "all"}, {"0.weight_g": torch.ones(6, 1)}, "do not make a weight"),
        ({"weight_norm": "all"}, {"0.weight_g": torch.ones(6, 1, 1, 1, dtype=torch.int64)}, "no real numbers"),
        ({"weight_norm": "all"}, {"0.weight": torch.ones(6, 3, 3, 3)}, "holds 0.weight beside"),
        ({"weight_norm": "all"}, {"0.weight_v": torch.ones(())}, "of shape ()"),
        ({"weight_norm": "all"}, {"0.bias": torch.ones(7)}, "can't be computed"),
        ({"weight_norm": "all"}, {"0.weight_v": torch.ones(6, 0, 3, 3)}, "of shape 6x0x3x3"),
    ],
)
def test_what_can_not_be_is_refused_with_the_path(plan, change, said, tmp_path: Path):
    state = nn.Sequential(hooked_weight_norm(nn.Conv2d(3, 6, 3)), nn.Conv2d(6, 4, 1)).state_dict()

    with pytest.raises(InvalidPlan) as caught:
        fused({**state, **change}, plan, tmp_path)

    assert said in caught.value.detail


def test_modules_of_a_file_say_themselves_what_their_weights_are_made_of(tmp_path: Path):
    torch.save(nn.Sequential(hooked_weight_norm(nn.Conv2d(3, 6, 3))), tmp_path / "net.pt")
    options = FuseOptions(plan=json.dumps({"weight_norm": "all"}))

    with pytest.raises(InvalidPlan, match="is for state dicts"):
        fuse_checkpoint(tmp_path / "net.pt", tmp_path / "out.pt", options, filename="net.pt")
