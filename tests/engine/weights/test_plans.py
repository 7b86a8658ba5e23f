"""`plan=` on state dicts: the caller says which layer feeds which norm."""

import json

import pytest
import torch
from torch import nn

from app.engine import fuse_checkpoint
from app.errors import InvalidPlan, NeedsArchitecture
from app.options import FuseOptions
from tests.engine.weights.nets import Odd, randomised

PAIRS = [
    {"conv": "conv1", "norm": "bn1", "eps": 1e-3},
    {"conv": "conv2", "norm": "pre", "order": "norm-first", "padding": 0},
    {"conv": "up", "norm": "bn3", "transposed": True},
    {"linear": "fc", "norm": "bn4"},
]


def fused(path, pairs, tmp_path, **options):
    target = tmp_path / "out.pth"
    plan = json.dumps({"pairs": pairs})
    return fuse_checkpoint(path, target, FuseOptions(plan=plan, **options), filename=path.name), target


@pytest.fixture
def net():
    return randomised(Odd())


@pytest.fixture
def source(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_every_pair_of_a_plan_is_folded_and_the_model_computes_the_same(net, source, tmp_path):
    report, target = fused(source, PAIRS, tmp_path)

    plain = Odd()
    for name in ("bn1", "pre", "bn3", "bn4"):
        setattr(plain, name, nn.Identity())
    plain.conv1.bias = nn.Parameter(torch.zeros(8))
    plain.load_state_dict(torch.load(target, weights_only=True), strict=True)
    x = torch.randn(2, 3, 9, 7)
    torch.testing.assert_close(plain.eval()(x), net(x), rtol=2e-5, atol=2e-6)
    assert report.summary.batch_norms_after == 0
    assert all(part.assumed and part.read_as == "caller's plan" for part in report.replaced)
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-12


def test_without_a_plan_or_an_architecture_the_problem_says_why(source, tmp_path):
    with pytest.raises(NeedsArchitecture, match="neither the layers' eps nor the data flow"):
        fuse_checkpoint(source, tmp_path / "out.pth", FuseOptions(), filename="net.pth")


@pytest.mark.parametrize(
    ("pair", "path"),
    [
        ({"conv": "conv9", "norm": "bn1"}, "conv9"),
        ({"conv": "conv1", "norm": "bn3000"}, "bn3000"),
        ({"conv": "conv2", "norm": "bn1"}, "bn1"),
        ({"conv": "fc", "norm": "bn4"}, "fc"),
        ({"conv": "bn3", "norm": "bn1"}, "bn3"),
    ],
)
def test_a_pair_that_does_not_fit_the_file_is_named(pair, path, source, tmp_path):
    with pytest.raises(InvalidPlan) as caught:
        fused(source, [pair, PAIRS[2]], tmp_path)

    assert caught.value.facts["path"] == path


def test_what_was_recognised_is_told_between_reading_and_fusing(source, tmp_path):
    order = []
    options = FuseOptions(plan=json.dumps({"pairs": PAIRS}))

    fuse_checkpoint(source, tmp_path / "out.pth", options, filename="net.pth", progress=order.append, tell=order.append)

    assert [part if isinstance(part, str) else part.batch_norms for part in order] == [
        *("reading", 4, "fusing", "verifying", "writing")
    ]
