"""Layers of torch with settings that torch can't run are told by their path."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.engine.pipeline import fuse_checkpoint
from app.errors import UnsupportedContent
from app.options import FuseOptions


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)), nn.ReLU()).eval()


def _fused(model: nn.Module, folder: Path) -> int:
    torch.save(model, folder / "a.pt")
    return fuse_checkpoint(folder / "a.pt", folder / "b.pt", FuseOptions(), filename="a.pt").summary.batch_norms_after


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (0, "groups", 0),
        (0, "groups", -1),
        (0, "groups", "2"),
        (0, "stride", (0, 0)),
        (0, "stride", "two"),
        (0, "stride", (1 << 70, 1)),
        (0, "dilation", (1.5, 1)),
        (0, "dilation", (1, -1)),
        (0, "output_padding", -1),
        (0, "padding", (-1, 1)),
        (0, "padding", (1 << 40, 1)),
        (0, "padding", "wide"),
        (0, "padding_mode", "evil"),
        (1, "eps", -5.0),
        (1, "eps", float("nan")),
        (1, "eps", float("inf")),
        (1, "eps", "1e-5"),
    ],
)
def test_a_layer_that_torch_can_not_run_is_named(layer: int, name: str, value: object, tmp_path: Path) -> None:
    model = _net()
    setattr(model[0][layer], name, value)

    with pytest.raises(UnsupportedContent, match=f"0.{layer}.{name} is ") as raised:
        _fused(model, tmp_path)

    assert raised.value.facts["layer"] == f"0.{layer}"


def test_numbers_of_every_size_are_shown_in_short(tmp_path: Path) -> None:
    model = _net()
    model[0][0].stride = (10**1000, 1)

    with pytest.raises(UnsupportedContent) as raised:
        _fused(model, tmp_path)

    assert len(raised.value.detail) < 200


@pytest.mark.parametrize(("name", "value"), [("padding", "same"), ("padding", [1, 1]), ("stride", 1)])
def test_settings_that_torch_runs_pass(name: str, value: object, tmp_path: Path) -> None:
    model = _net()
    setattr(model[0][0], name, value)
    model(torch.zeros(1, 4, 5, 5))

    assert _fused(model, tmp_path) == 0


def test_a_setting_of_another_library_is_left_to_its_layer(tmp_path: Path) -> None:
    model = _net()
    model[0][1].eps = np.float64(1e-3)

    _fused(model, tmp_path)
