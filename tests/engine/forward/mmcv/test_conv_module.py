"""mmcv's ConvModule in different orders of its parts."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.engine.nets import BATCH_NORMS, Fused, counted, error, fuse, tolerance, trained

CONV_NORM_ACT = ("conv", "norm", "act")
PATH = "mmcv.cnn.bricks.conv_module"


def fold_at_every_call(*_: Any) -> None:
    """Stands for the function that an instance may name, and that a fused module must not."""


class ConvModule(nn.Module):
    def __init__(
        self, conv: nn.Module, norm: nn.Module | None, order: tuple[str, ...] = ("conv", "norm", "act")
    ) -> None:
        super().__init__()
        self.order, self.with_explicit_padding = order, False
        self.with_norm, self.with_activation = norm is not None, True
        self.conv, self.activate = conv, nn.ReLU(inplace=True)
        self.norm_name = None if norm is None else "bn1"
        if norm is not None:
            self.add_module("bn1", norm)
        self.efficient_conv_bn_eval_forward = fold_at_every_call

    def forward(self, x: Tensor) -> Tensor:
        for part in self.order:
            if part == "conv":
                x = self.conv(x)
            elif part == "norm" and self.with_norm:
                x = getattr(self, self.norm_name)(x)
            elif part == "act":
                x = self.activate(x)
        return x


@pytest.fixture(autouse=True)
def _code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(PATH)
    for part in (ConvModule, fold_at_every_call):
        monkeypatch.setattr(part, "__module__", PATH)
        setattr(module, part.__name__, part)
    parents = [PATH.rsplit(".", depth)[0] for depth in range(1, 4)]
    for name in parents:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, PATH, module)


def _fused(block: nn.Module, folder: Path) -> Fused:
    return fuse(trained(block).eval(), folder)


@pytest.mark.parametrize("order", [("conv", "norm", "act"), ("act", "conv", "norm"), ("norm", "conv", "act")])
def test_a_norm_on_either_side_of_the_convolution_becomes_an_identity(order: tuple[str, ...], tmp_path: Path) -> None:
    wide = 4 if order[0] == "norm" else 6
    block = ConvModule(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(wide), order)

    fused = _fused(block, tmp_path)

    assert type(fused.loaded.bn1) is nn.Identity
    assert fused.loaded.efficient_conv_bn_eval_forward is None
    assert error(block, fused.loaded, torch.randn(2, 4, 9, 7)) < tolerance(torch.float32)


def test_a_norm_before_a_padded_convolution_is_refused(tmp_path: Path) -> None:
    block = ConvModule(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(4), ("norm", "conv", "act"))

    fused = _fused(block, tmp_path)

    assert "border-differs" in fused.codes.values()
    assert counted(fused.loaded, BATCH_NORMS) == 1


def test_a_norm_behind_the_activation_is_refused(tmp_path: Path) -> None:
    block = ConvModule(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), ("conv", "act", "norm"))

    fused = _fused(block, tmp_path)

    assert fused.report.summary.layers_replaced == 0
    assert fused.codes
    assert error(block, fused.loaded, torch.randn(2, 4, 9, 7)) == 0.0


def test_a_module_without_a_norm_is_left_alone(tmp_path: Path) -> None:
    block = ConvModule(nn.Conv2d(4, 6, 1), None)

    fused = _fused(block, tmp_path)

    assert (fused.report.summary.layers_replaced, fused.codes) == (0, {})


def test_a_module_that_names_its_parts_otherwise_is_left_alone(tmp_path: Path) -> None:
    block = ConvModule(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), ("conv", "norm", "drop"))

    fused = _fused(nn.Sequential(block), tmp_path)

    assert set(fused.codes.values()) == {"data-flow-not-proven"}
