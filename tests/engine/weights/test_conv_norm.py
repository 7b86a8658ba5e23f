"""State dicts whose blocks are a convolution and a norm: YOLOX, mmcv ConvModule."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine import fuse_checkpoint
from app.options import FuseOptions
from tests.engine.forward import kept
from tests.engine.weights.test_families import fused, saved, state_dict_of


def _both(family: str, name: str, tmp_path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict of a whole module that the authors' code wrote, and of what fusing leaves of the module."""
    source = kept.checkpoint(family, name, tmp_path)
    fuse_checkpoint(source, tmp_path / "module.pt", FuseOptions(), filename="module.pt")
    return state_dict_of(source), state_dict_of(tmp_path / "module.pt")


def test_yolox_comes_out_as_the_whole_module_does(tmp_path: Path) -> None:
    weights, expected = _both("yolox", "yolox-nano", tmp_path)

    found, report = fused(saved({"model": weights, "start_epoch": 3}, tmp_path), tmp_path, architecture="yolox")

    assert found["start_epoch"] == 3
    assert found["model"].keys() == expected.keys()
    assert all(torch.equal(found["model"][name], expected[name]) for name in expected)
    assert report.summary.parameters_after == kept.facts("yolox")["yolox-nano"]["own_fuse_parameters"]
    assert report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11


@pytest.fixture
def conv_modules(tmp_path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All that are built in the default order: not the one whose norm comes first."""
    both = _both("mmcv", "blocks", tmp_path)
    weights, expected = ({name: part for name, part in one.items() if not name.startswith("2.")} for one in both)
    return weights, expected


def test_conv_modules_come_out_as_the_whole_module_does(
    conv_modules: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path
) -> None:
    weights, expected = conv_modules

    found, report = fused(saved(weights, tmp_path), tmp_path, architecture="mmcv")

    plain = {name for name in expected if not name.startswith("8.")}
    assert {name for name in found if not name.startswith("8.")} == plain
    assert all(torch.equal(found[name], expected[name]) for name in plain)
    assert report.replaced
    assert all(part.assumed for part in report.replaced)
    assert any("each norm was taken to follow its convolution" in note for note in report.notes)


def test_a_square_weight_of_even_size_may_be_a_transposed_one_and_is_left_alone(
    conv_modules: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path
) -> None:
    weights, _ = conv_modules

    found, report = fused(saved(weights, tmp_path), tmp_path, architecture="mmcv")

    assert [cut.path for cut in report.refused if cut.code == "data-flow-not-proven"] == ["8.bn"]
    assert all(torch.equal(found[name], weights[name]) for name in weights if name.startswith("8."))


def test_what_names_do_not_tell_is_not_taken_in_strict_mode(
    conv_modules: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path
) -> None:
    weights, _ = conv_modules

    found, report = fused(saved(weights, tmp_path), tmp_path, architecture="mmcv", strict=True)

    assert not report.replaced
    assert found.keys() == weights.keys()
