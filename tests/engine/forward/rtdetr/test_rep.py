"""PP-YOLOE's RepVGG block in RT-DETR, and copies of it elsewhere."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests.engine.nets import BATCH_NORMS, CONVS, counted, error, fuse, tolerance, trained


class ConvNormLayer(nn.Module):
    def __init__(self, wide: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, kernel, padding=kernel // 2, bias=False)
        self.norm, self.act = nn.BatchNorm2d(out), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class RepVggBlock(nn.Module):
    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.ch_in, self.ch_out, self.act = wide, out, nn.SiLU()
        self.conv1, self.conv2 = ConvNormLayer(wide, out, 3), ConvNormLayer(wide, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x) if hasattr(self, "conv") else self.conv1(x) + self.conv2(x))


@pytest.fixture(params=["src.zoo.rtdetr.hybrid_encoder", "copied.encoder"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    found: str = request.param
    module = ModuleType(found)
    for cls in (ConvNormLayer, RepVggBlock):
        monkeypatch.setattr(cls, "__module__", found)
        setattr(module, cls.__name__, cls)
    parts = found.split(".")
    for depth in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(".".join(parts[:depth])))
    monkeypatch.setitem(sys.modules, found, module)
    return found


def test_both_branches_become_one_convolution_wherever_the_class_lies(path: str, tmp_path: Path) -> None:
    block = trained(RepVggBlock(4, 6)).eval()

    fused = fuse(block, tmp_path)

    assert [name for name, _ in fused.loaded.named_children()] == ["conv", "act"]
    assert (counted(fused.loaded, BATCH_NORMS), counted(fused.loaded, CONVS)) == (0, 1)
    assert error(block, fused.loaded, torch.randn(2, 4, 9, 7)) < tolerance(torch.float32)
    assert {replaced.assumed for replaced in fused.report.replaced} == {path == "copied.encoder"}


def test_a_copy_is_left_alone_by_strict_and_the_class_itself_is_not(path: str, tmp_path: Path) -> None:
    fused = fuse(trained(RepVggBlock(4, 6)).eval(), tmp_path, strict=True)

    assert counted(fused.loaded, BATCH_NORMS) == (2 if path == "copied.encoder" else 0)


def test_a_layer_keeps_its_class_and_has_an_identity_for_its_norm(path: str, tmp_path: Path) -> None:
    layer = trained(ConvNormLayer(4, 6, 3)).eval()

    fused = fuse(layer, tmp_path)

    assert type(fused.loaded) is ConvNormLayer
    assert type(fused.loaded.norm) is nn.Identity
    assert error(layer, fused.loaded, torch.randn(2, 4, 9, 7)) < tolerance(torch.float32)


def test_a_branch_with_an_activation_is_refused(path: str, tmp_path: Path) -> None:
    block = trained(RepVggBlock(4, 6)).eval()
    block.conv2.act = nn.ReLU()

    fused = fuse(block, tmp_path)

    assert "slot-not-whole" in fused.codes.values()
    assert error(block, fused.loaded, torch.randn(2, 4, 9, 7)) == 0.0
