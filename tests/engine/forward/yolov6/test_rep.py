"""YOLOv6's re-parameterised blocks: what is fused, what is refused, what is left alone."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests.engine.nets import BATCH_NORMS, CONVS, counted, error, fuse, tolerance, trained


class ConvModule(nn.Module):
    def __init__(self, wide: int, out: int, kernel: int, activation: str | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)
        if activation is not None:
            self.act = nn.ReLU()
        self.activation_type = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return y if self.activation_type is None else self.act(y)


class QARepVGGBlock(nn.Module):
    """The norm behind the sum stays in the authors' deployed form, and is called in either form."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.deploy = False
        self.nonlinearity, self.se = nn.ReLU(), nn.Identity()
        self.rbr_dense = ConvModule(width, width, 3)
        self.rbr_1x1 = nn.Conv2d(width, width, 1, bias=False)
        self.rbr_identity = nn.Identity()
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "rbr_reparam"):
            total = self.rbr_reparam(x)
        else:
            total = self.rbr_dense(x) + self.rbr_1x1(x) + self.rbr_identity(x)
        return self.nonlinearity(self.bn(self.se(total)))


class ScaleLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias, self.num_features = nn.Parameter(torch.rand(width) + 0.5), None, width

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(1, -1, 1, 1)


class LinearAddBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv_1x1 = nn.Conv2d(width, width, 1, bias=False)
        self.scale_conv, self.scale_1x1, self.scale_identity = (ScaleLayer(width) for _ in range(3))
        self.bn, self.se, self.relu = nn.BatchNorm2d(width), nn.Identity(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        total = self.scale_conv(self.conv(x)) + self.scale_1x1(self.conv_1x1(x)) + self.scale_identity(x)
        return self.relu(self.se(self.bn(total)))


@pytest.fixture(autouse=True)
def _code(monkeypatch: pytest.MonkeyPatch) -> None:
    common = ModuleType("yolov6.layers.common")
    for cls in (ConvModule, QARepVGGBlock, ScaleLayer, LinearAddBlock):
        monkeypatch.setattr(cls, "__module__", "yolov6.layers.common")
        setattr(common, cls.__name__, cls)
    for name in ("yolov6", "yolov6.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "yolov6.layers.common", common)


@pytest.mark.parametrize("block", [QARepVGGBlock, LinearAddBlock])
def test_branches_and_the_norm_behind_their_sum_become_one_convolution(block: type, tmp_path: Path) -> None:
    original = trained(block(6)).eval()

    fused = fuse(original, tmp_path)

    assert (counted(fused.loaded, BATCH_NORMS), counted(fused.loaded, CONVS)) == (0, 1)
    assert error(original, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32)


def test_a_quantisation_aware_block_keeps_its_class_and_says_that_it_is_deployed(tmp_path: Path) -> None:
    fused = fuse(trained(QARepVGGBlock(6)).eval(), tmp_path)

    assert type(fused.loaded) is QARepVGGBlock
    assert fused.loaded.deploy is True
    assert [name for name, _ in fused.loaded.named_children()] == ["nonlinearity", "se", "bn", "rbr_reparam"]


def test_what_the_authors_conversion_leaves_is_fused_on(tmp_path: Path) -> None:
    block = trained(QARepVGGBlock(6)).eval()
    block.rbr_reparam = nn.Conv2d(6, 6, 3, padding=1)
    del block.rbr_dense, block.rbr_1x1, block.rbr_identity

    fused = fuse(block, tmp_path)

    assert counted(fused.loaded, BATCH_NORMS) == 0
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32)


@pytest.mark.parametrize("activation", ["relu", None])
def test_a_module_becomes_a_sequential_of_what_it_has(activation: str | None, tmp_path: Path) -> None:
    block = trained(ConvModule(3, 6, 3, activation)).eval()

    fused = fuse(block, tmp_path)

    assert type(fused.loaded) is nn.Sequential
    assert [name for name, _ in fused.loaded.named_children()] == (["conv", "act"] if activation else ["conv"])
    assert error(block, fused.loaded, torch.randn(2, 3, 9, 7)) < tolerance(torch.float32)


def test_a_block_that_gates_its_sum_is_refused(tmp_path: Path) -> None:
    block = trained(QARepVGGBlock(6)).eval()
    block.se = nn.Sigmoid()

    fused = fuse(block, tmp_path)

    assert "slot-not-whole" in fused.codes.values()
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) == 0.0


def test_a_module_whose_activation_is_not_where_it_says_is_left_alone(tmp_path: Path) -> None:
    block = trained(ConvModule(3, 6, 3, "relu")).eval()
    del block.act

    fused = fuse(nn.Sequential(block), tmp_path)

    assert set(fused.codes.values()) == {"data-flow-not-proven"}
    assert counted(fused.loaded, BATCH_NORMS) == 1
