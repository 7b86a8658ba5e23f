"""BottleneckCSP: one norm over two joined paths goes into both of their convolutions, or stays whole."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests.engine.nets import BATCH_NORMS, counted, error, fuse, tolerance, trained
from tests.engine.yolo_code import Conv


class BottleneckCSP(nn.Module):
    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        inner = out // 2
        self.cv1, self.cv4 = Conv(wide, inner), Conv(2 * inner, out)
        self.cv2, self.cv3 = nn.Conv2d(wide, inner, 1, bias=False), nn.Conv2d(inner, inner, 1, bias=False)
        self.bn, self.act, self.m = nn.BatchNorm2d(2 * inner), nn.SiLU(), nn.Sequential(Conv(inner, inner, 3))

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        return self.cv4(self.act(self.bn(joined)))


@pytest.fixture(autouse=True)
def _code(monkeypatch: pytest.MonkeyPatch) -> None:
    common = ModuleType("models.common")
    for cls in (Conv, BottleneckCSP):
        monkeypatch.setattr(cls, "__module__", "models.common")
        setattr(common, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "models", ModuleType("models"))
    monkeypatch.setitem(sys.modules, "models.common", common)


def test_each_path_takes_in_its_share_of_the_norm(tmp_path: Path) -> None:
    block = trained(BottleneckCSP(6, 8)).eval()

    fused = fuse(block, tmp_path)

    assert counted(fused.loaded, BATCH_NORMS) == 0
    assert type(fused.loaded.bn) is nn.Identity
    assert fused.loaded.cv2.bias is not None
    assert fused.codes == {}
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32, layers=8)


def test_where_one_path_cannot_take_its_share_the_norm_stays_whole(tmp_path: Path) -> None:
    block = trained(BottleneckCSP(6, 6)).eval()
    block.cv3 = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())

    fused = fuse(block, tmp_path)

    assert type(fused.loaded.bn) is nn.BatchNorm2d
    assert fused.loaded.cv2.bias is None
    assert fused.codes
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32, layers=8)


def test_a_norm_for_another_number_of_channels_ends_the_flow(tmp_path: Path) -> None:
    block = trained(BottleneckCSP(6, 8)).eval()
    block.bn = nn.BatchNorm2d(6)

    fused = fuse(block, tmp_path)

    assert fused.codes["bn"] == "data-flow-not-proven"
    assert type(fused.loaded.bn) is nn.BatchNorm2d
