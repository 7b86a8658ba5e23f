"""Sizes that are proposed for a program obey its ranges and expressions; what a caller gives is checked by them."""

import re
import warnings

import pytest
import torch
from torch import nn
from torch.export import Dim

from app.engine import fuse_checkpoint
from app.engine.forward.aten import exported_at, misfit, settled
from app.errors import InvalidOption
from app.options import FuseOptions
from tests.engine.formats.pt2.exporting import read, save

HEIGHT, WIDTH = Dim("height", min=4, max=40), Dim("width", min=2, max=1000)


class Two(nn.Module):
    """Two maps, the second twice as high and one wider than the first."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.eval()

    def forward(self, x, y):
        return torch.cat([self.norm(self.conv(x)), self.norm(self.conv(y[..., :-1]))], 2)


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "net.pt2"
    shapes = {"x": {2: HEIGHT, 3: WIDTH}, "y": {2: 2 * HEIGHT, 3: WIDTH + 1}}
    save(Two(), (torch.randn(2, 3, 8, 6), torch.randn(2, 3, 16, 7)), path, shapes=shapes)
    return path


def test_sizes_stay_in_their_range_and_derived_ones_follow(program):
    proposed = {"x": (2, 3, 128, 192), "y": (2, 3, 128, 192)}

    assert settled(read(program), proposed, frozenset()) == {"x": (2, 3, 40, 192), "y": (2, 3, 80, 193)}


def test_sizes_that_are_given_decide_the_others(program):
    proposed = {"x": (2, 3, 128, 192), "y": (2, 3, 20, 31)}

    assert settled(read(program), proposed, frozenset({"y"})) == {"x": (2, 3, 10, 30), "y": (2, 3, 20, 31)}


def test_the_sizes_at_export_are_known(program):
    assert exported_at(read(program)) == {"x": (2, 3, 8, 6), "y": (2, 3, 16, 7)}


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ({"x": (2, 3, 8, 6), "y": (2, 3, 16, 7)}, None),
        ({"x": (2, 3, 8, 6), "y": (2, 3, 17, 7)}, "dimension 2 of y is 17, but it has to be"),
        ({"x": (2, 3, 2, 6), "y": (2, 3, 4, 7)}, "dimension 2 of x is 2, so that .* exported for from 4 to 40"),
    ],
)
def test_sizes_that_do_not_fit_are_told(program, shapes, why):
    found = misfit(read(program), shapes)

    assert (found is None) == (why is None)
    assert found is None or re.match(why, found)


@pytest.mark.parametrize("given", ["x=2x3x80x8", "x=2x3x8x8,y=2x3x8x8"])
def test_a_probe_shape_that_the_program_does_not_take_is_refused(program, tmp_path, given):
    with pytest.raises(InvalidOption, match="probe_shape does not fit the program: dimension"):
        fuse_checkpoint(program, tmp_path / "out.pt2", FuseOptions(probe_shape=given), filename="net.pt2")


def test_a_single_image_may_be_tried_where_torch_takes_one(tmp_path):
    path = tmp_path / "net.pt2"
    save(nn.Conv2d(3, 4, 3).eval(), (torch.randn(2, 3, 8, 6),), path, shapes={"input": {0: Dim("batch")}})

    report = fuse_checkpoint(path, tmp_path / "out.pt2", FuseOptions(probe_shape="1x3x8x6"), filename="net.pt2")

    assert report.equivalence is not None
    assert report.equivalence.probe.shape == ((1, 3, 8, 6),)


def test_a_program_is_tried_within_its_ranges(program, tmp_path):
    report = fuse_checkpoint(program, tmp_path / "out.pt2", FuseOptions(), filename="net.pt2")

    assert report.summary.batch_norms_after == 0
    assert report.equivalence.probe.shape == ((2, 3, 40, 192), (2, 3, 80, 193))


def test_sizes_that_nothing_says_are_those_of_the_export_where_others_do_not_suit(tmp_path):
    class Sevens(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Linear(7, 2)
            self.eval()

        def forward(self, x):
            y = self.norm(self.conv(x))
            return self.head(y.reshape(y.shape[0], 4, -1, 7))

    path = tmp_path / "net.pt2"
    save(Sevens(), (torch.randn(2, 3, 21),), path, shapes={"x": {2: Dim.AUTO}})

    report = fuse_checkpoint(path, tmp_path / "out.pt2", FuseOptions(), filename="net.pt2")

    assert report.equivalence.probe.shape == ((2, 3, 21),)
    assert report.refused == ()


def test_a_number_that_depends_on_a_size_goes_into_no_weight(tmp_path):
    class BySize(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) * x.shape[0]

    path, target, given = tmp_path / "net.pt2", tmp_path / "out.pt2", FuseOptions(probe_shape="2x3x8x8")
    save(BySize(), (torch.randn(2, 3, 8, 8),), path, shapes={"x": {0: Dim.AUTO}})

    report = fuse_checkpoint(path, target, given, filename="net.pt2")

    x = torch.randn(5, 3, 8, 8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        found, expected = (torch.export.load(one).module()(x) for one in (target, path))
    assert torch.equal(found, expected)
    assert [one.code for one in report.refused] == ["size-may-differ"]
