"""A wrong fold never passes, wherever it hides; the verdict is taken by figures beside the original's own noise."""

from dataclasses import replace
from math import inf, nan

import pytest
import torch
from torch import nn

from app.engine import algebra
from app.engine.fuse import layers
from app.engine.interpret.lockstep import RegionProof
from app.engine.interpret.numeric import run
from app.engine.ir.graph import Value
from app.engine.verify.equivalence import NOISE_FACTOR, Figures, failure, measure_original, measure_written
from app.errors import NotEquivalent
from tests.engine.interpret.drawn_graphs import Builder
from tests.engine.nets import fuse, norm, pair

GOOD = Figures(1e-14, 1e-5, 1e-5, 2e-5, 1e-3, 1e-5)


def refused(model, directory, match):
    with pytest.raises(NotEquivalent, match=match):
        fuse(model, directory)
    assert not (directory / "target.pt").exists()


def hidden(model: nn.Module) -> nn.Sequential:
    """The model behind a scale so small that its outputs vanish beside a bias."""
    last = nn.Conv2d(4, 4, 1)
    nn.init.constant_(last.weight, 1e-25)
    nn.init.ones_(last.bias)
    return nn.Sequential(model, last).eval()


def plain() -> nn.Sequential:
    return pair(nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize("behind", [lambda m: m, hidden], ids=["in sight", "hidden"])
def test_a_wrong_eps_is_caught(behind, tmp_path, monkeypatch):
    fold = algebra.batch_norm_affine
    monkeypatch.setattr(algebra, "batch_norm_affine", lambda w, b, m, v, eps: fold(w, b, m, v, 1e-3))
    refused(behind(plain()), tmp_path, "identity")


@pytest.mark.parametrize("behind", [lambda m: m, hidden], ids=["in sight", "hidden"])
def test_a_wrong_rounding_of_one_weight_is_caught(behind, tmp_path, monkeypatch):
    right = algebra.round_weight

    def wrong(*args, **options):
        weight = right(*args, **options)
        weight[0, 0, 0, 0] *= 1.001
        return weight

    monkeypatch.setattr(algebra, "round_weight", wrong)
    refused(behind(plain()), tmp_path, "rounding|stored")


@pytest.mark.parametrize("behind", [lambda m: m, hidden], ids=["in sight", "hidden"])
def test_a_layer_that_is_written_wrong_is_caught(behind, tmp_path, monkeypatch):
    right = layers.convolution_attributes
    monkeypatch.setattr(layers, "convolution_attributes", lambda *args: {**right(*args), "dilation": (2, 2)})
    refused(behind(plain()), tmp_path, "does not hold")


@pytest.mark.parametrize("behind", [lambda m: m, hidden], ids=["in sight", "hidden"])
def test_a_weight_that_is_written_wrong_is_caught(behind, tmp_path, monkeypatch):
    right = layers.parameter
    monkeypatch.setattr(layers, "parameter", lambda tensor, **kept: right(tensor * (1 + 1e-6), **kept))
    refused(behind(plain()), tmp_path, "does not hold")


def _wrong_fold(monkeypatch):
    right = algebra.fold_affine

    def wrong(conv, affine):
        folded = right(conv, affine)
        return replace(folded, weight=folded.weight * (1 + 1e-6))

    monkeypatch.setattr(algebra, "fold_affine", wrong)


def test_a_wrong_fold_behind_a_dead_activation_is_caught(tmp_path, monkeypatch):
    dead = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    nn.init.constant_(dead[0].bias, -1e3)
    model = nn.Sequential(dead, nn.Conv2d(4, 4, 3), norm(4)).eval()
    fuse(model, tmp_path)
    (tmp_path / "target.pt").unlink()
    _wrong_fold(monkeypatch)
    refused(model, tmp_path, "region")


def test_a_wrong_fold_behind_a_channel_of_nan_is_caught(tmp_path, monkeypatch):
    first, second = nn.Conv2d(4, 4, 3, groups=4).double(), nn.Conv2d(4, 4, 3, groups=4).double()
    for layer in (first, second):  # the product of both is infinite, and infinite numbers of both signs have no sum
        layer.weight.data[1:] = 1e200
    last = nn.Conv2d(4, 4, 3, groups=4).double()
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last, norm(4).double()).eval()
    assert model(torch.randn(1, 4, 12, 12, dtype=torch.float64))[:, 1:].isnan().any()
    fuse(model, tmp_path)
    (tmp_path / "target.pt").unlink()
    _wrong_fold(monkeypatch)
    refused(model, tmp_path, "identity")


def test_figures_within_their_limits_pass():
    assert failure(GOOD, [RegionProof(1e-14, 1e-7, 0.5)], None) is None
    assert failure(GOOD, [], 2e-5) is None
    assert failure(replace(GOOD, stored=9e-12, stored_noise=0.0), [], None) is None  # what float64 itself resolves
    assert failure(replace(GOOD, native=3e-6, native_noise=1e-7), [], None) is None  # another order of additions
    assert failure(replace(GOOD, native=4e-6, native_noise=1e-7), [], None) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("identity", 1e-8),
        ("stored", NOISE_FACTOR * 1.1e-5),
        ("native", NOISE_FACTOR * 1.1e-5),
        *(
            (name, odd)
            for name in ("identity", "stored", "native", "stored_noise", "native_noise")
            for odd in (nan, inf)
        ),
    ],
)
def test_any_figure_above_its_limit_or_without_a_number_fails(name, value):
    assert failure(replace(GOOD, **{name: value}), [], None) is not None


@pytest.mark.parametrize("region", [(1e-8, 0, 0), (nan, 0, 0), (0, inf, 0), (0, nan, 0), (0, 0, 2), (0, 0, nan)])
def test_any_region_above_its_limit_or_without_a_number_fails(region):
    assert failure(GOOD, [RegionProof(0, 0, 0), RegionProof(*region)], None) is not None


def test_no_error_at_all_passes_whatever_the_noise():
    """A norm without eps over a channel without variance makes infinite noise, also where nothing is replaced."""
    still = replace(GOOD, stored=0.0, stored_noise=inf, native=0.0, native_noise=nan)
    assert failure(still, (), None) is None


def test_the_callers_limit_only_tightens():
    assert failure(GOOD, [], 1e-5) is not None
    assert failure(replace(GOOD, native=1e-3), [], 1.0) is not None


def test_the_worst_of_two_units_keeps_each_error_beside_its_own_noise():
    loud = replace(GOOD, stored=1e-3, stored_noise=1e-3, native_absolute=7.0)
    near = replace(GOOD, stored=3e-7, stored_noise=1e-7, identity=1e-12)
    for worst in (loud.worst(near), near.worst(loud)):
        assert (worst.stored, worst.stored_noise) == (3e-7, 1e-7)
        assert (worst.identity, worst.native_absolute) == (1e-12, 7.0)
    assert replace(GOOD, stored=nan).worst(near).stored != replace(GOOD, stored=nan).worst(near).stored


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.1, False)])
def test_one_lucky_run_of_the_original_condemns_no_model_that_amplifies_rounding(factor, passes):
    """Numbers that vanish beside 10,000 keep four digits in float32, whatever convolution gave them."""
    b, x = Builder(), Value((2, 4, 9, 7))
    graph = b.graph(x, b.ops.pointwise("Swamp", lambda t: (t + 1e4) - 1e4, b.conv(x, 4, 3)))
    inputs = [torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(0))]
    lucky = replace(measure_original(graph, (), inputs, torch.float32, "cpu"), native_noise=0.0)

    def see(inputs):
        return run(graph, inputs, torch.float32) * factor

    found = measure_written(lucky, graph, torch.float32, "cpu", see)

    assert found.native_noise > 100 * found.stored_noise
    assert (failure(found, (), None) is None) is passes
