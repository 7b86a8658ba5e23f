"""A norm before the mean of a map, in a Sequential: the Linear behind the mean takes it in."""

import pytest
import torch
from torch import nn

from app.engine import fuse_checkpoint
from app.options import FuseOptions
from tests.engine.weights.nets import randomised

_TAKEN = {
    "a map": ((2, 3, 9, 11), [nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]),
    "a line": ((2, 3, 19), [nn.BatchNorm1d(6), nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.Linear(6, 4, bias=False)]),
    "drop-outs": (
        (2, 3, 9, 11),
        [
            *(nn.BatchNorm2d(6, affine=False), nn.Dropout2d(), nn.AdaptiveAvgPool2d((1, 1)), nn.Identity()),
            *(nn.Flatten(), nn.Dropout(), nn.Linear(6, 4)),
        ],
    ),
}
_LEFT = {
    "the largest instead of the mean": [nn.BatchNorm2d(6), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 4)],
    "several means": [nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(12, 4)],
    "an activation between": [nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)],
    "positions kept": [nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Linear(1, 4)],
}


def _net(dims, layers):
    convolution = nn.Conv2d(3, 6, 3) if dims == 4 else nn.Conv1d(3, 6, 3)
    return randomised(nn.Sequential(convolution, nn.ReLU(), *layers))


def _fused(net, tmp_path):
    torch.save(net, tmp_path / "net.pt")
    report = fuse_checkpoint(tmp_path / "net.pt", tmp_path / "fused.pt", FuseOptions(), filename="net.pt")
    return torch.load(tmp_path / "fused.pt", weights_only=False), report


@pytest.mark.parametrize("name", _TAKEN)
def test_the_linear_takes_it_in(name, tmp_path):
    shape, layers = _TAKEN[name]
    net, x = _net(len(shape), layers), torch.randn(shape)

    fused, report = _fused(net, tmp_path)

    assert report.summary.batch_norms_after == 0
    assert report.equivalence.identity.relative < 1e-11
    assert isinstance(fused[2], nn.Identity)
    with torch.no_grad():
        torch.testing.assert_close(fused.double()(x.double()), net.double()(x.double()), rtol=1e-5, atol=1e-5)


def test_a_convolution_before_it_takes_it_in_first(tmp_path):
    net = randomised(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    )

    fused, report = _fused(net, tmp_path)

    assert [part.path for part in report.replaced] == ["0"]
    assert torch.equal(fused[4].weight, net[4].weight)


@pytest.mark.parametrize("name", _LEFT)
def test_what_does_not_commute_stays(name, tmp_path):
    _, report = _fused(_net(4, _LEFT[name]), tmp_path)

    assert report.summary.batch_norms_after == 1
    assert [(cut.path, cut.code) for cut in report.refused] == [("2", "no-convolution-beside")]


def test_a_norm_without_statistics_stays(tmp_path):
    norm = nn.BatchNorm2d(6, track_running_stats=False)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).eval()

    _, report = _fused(net, tmp_path)

    assert [(cut.path, cut.code) for cut in report.refused] == [("2", "batch-norm-without-statistics")]
