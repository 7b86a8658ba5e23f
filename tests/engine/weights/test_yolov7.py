"""State dicts of YOLOv7: blocks that the authors' code wrote, as whole modules give them."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine import fuse_checkpoint
from app.errors import ArchitectureMismatch, NeedsArchitecture
from app.options import FuseOptions
from tests.engine.forward.published import model_of
from tests.engine.weights.test_families import fused, saved, state_dict_of

_BLOCKS = Path(__file__).resolve().parents[2] / "data" / "yolov7-blocks"
_NAMES = ("Conv_g", "RepConv_identity", "RepConv_groups_identity", "RepConv_stride", "IDetect")


def _together(paths: list[Path]) -> "OrderedDict[str, Tensor]":
    """The state dict of a list of layers."""
    return OrderedDict(
        (f"model.{number}.{name}", tensor)
        for number, path in enumerate(paths)
        for name, tensor in state_dict_of(path).items()
    )


def _eps(path: Path) -> set[float]:
    return {part.attribute("eps") for part in model_of(path).walk() if part.class_path.endswith("BatchNorm2d")}


@pytest.fixture
def weights() -> "OrderedDict[str, Tensor]":
    return _together([_BLOCKS / f"{name}.pt" for name in _NAMES])


def test_blocks_and_head_are_fused_as_in_whole_modules(weights: dict[str, Tensor], tmp_path: Path) -> None:
    eps = set().union(*(_eps(_BLOCKS / f"{name}.pt") for name in _NAMES))
    for name in _NAMES:
        fuse_checkpoint(_BLOCKS / f"{name}.pt", tmp_path / f"{name}.pt", FuseOptions(), filename=name)

    found, report = fused(saved(weights, tmp_path), tmp_path, architecture=f"yolov7:eps={eps.pop()}")

    assert not eps
    expected = _together([tmp_path / f"{name}.pt" for name in _NAMES])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert report.summary.batch_norms_after == 0
    assert report.input.detected.family == "YOLOv7"
    assert isinstance(report.input.detected.classes, int)


def test_the_eps_of_yolov7_is_its_own(weights: dict[str, Tensor], tmp_path: Path) -> None:
    source = saved(weights, tmp_path)
    given, _ = fused(source, tmp_path, architecture="yolov7:eps=0.001")

    found, _ = fused(source, tmp_path, architecture="yolov7")

    assert all(torch.equal(found[name], given[name]) for name in given)


def test_it_is_the_first_match_of_its_names(weights: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(NeedsArchitecture) as caught:
        fused(saved(weights, tmp_path), tmp_path)

    assert caught.value.facts["matches"][0]["architecture"] == "yolov7"


@pytest.mark.parametrize("name", ["IAuxDetect", "RepConv_OREPA_identity"])
def test_blocks_whose_names_are_not_read_are_told(name: str, tmp_path: Path) -> None:
    weights = _together([_BLOCKS / f"{name}.pt"])

    with pytest.raises(ArchitectureMismatch, match="unexpected"):
        fused(saved(weights, tmp_path), tmp_path, architecture="yolov7")
