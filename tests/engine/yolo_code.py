"""Stand-ins for the code that wrote YOLOv5 and Ultralytics checkpoints, and a loader that fuses again.

Written for these tests from the papers and from what the files hold.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, wide: int, out: int, kernel: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class RepConv(nn.Module):
    def __init__(self, width: int, identity: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(width, width, 3), Conv(width, width)
        self.conv1.act = self.conv2.act = nn.Identity()
        self.bn = nn.BatchNorm2d(width) if identity else None
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x) + self.conv2(x)
        return self.act(y if self.bn is None else y + self.bn(x))


class RepVGGDW(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.conv1 = Conv(width, width, 7, width), Conv(width, width, 3, width)
        self.conv.act = self.conv1.act = nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x) + self.conv1(x))


class Bottleneck(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.cv1(x).chunk(2, 1))
        for inner in self.m:
            maps.append(inner(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class C3(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class Concat(nn.Module):
    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, self.d)


class DFL(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        batch, _, cells = x.shape
        bins = x.view(batch, 4, self.c1, cells).softmax(2)
        return (bins * self.conv.weight.view(1, 1, -1, 1)).sum(2)


class Detect(nn.Module):
    """Distances from a cell's centre to the sides of its box, times the stride."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        found = []
        for x, box, classes, stride in zip(maps, self.cv2, self.cv3, self.stride, strict=True):
            rows, columns = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
            centre = torch.stack((columns, rows)).flatten(1) + 0.5
            left, right = self.dfl(box(x).flatten(2)).chunk(2, 1)
            sides = torch.cat((centre + (right - left) / 2, left + right), 1)
            found.append(torch.cat((sides * stride, classes(x).flatten(2).sigmoid()), 1))
        return torch.cat(found, 2)


class DetectionModel(nn.Module):
    def forward(self, x: Any) -> Any:
        kept: list[Any] = []
        for layer in self.model:
            if layer.f != -1:
                x = kept[layer.f] if isinstance(layer.f, int) else [x if j == -1 else kept[j] for j in layer.f]
            x = layer(x)
            kept.append(x if layer.i in self.save else None)
        return x

    def fuse(self) -> "DetectionModel":
        """What the loader does to whatever it loads: folding needs a true batch norm."""
        for module in self.modules():
            if isinstance(module, (Conv, RepConv, RepVGGDW)):
                raise AssertionError(f"a second fold: {type(module).__name__} is left")
        return self


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins where pickles of Ultralytics' package look for them."""
    files = {
        "conv": (Conv, RepConv, Concat),
        "block": (RepVGGDW, Bottleneck, C2f, C3, SPPF, DFL),
        "head": (Detect,),
    }
    modules = {f"ultralytics.nn.modules.{name}": classes for name, classes in files.items()}
    modules |= {"ultralytics": (), "ultralytics.nn": (), "ultralytics.nn.modules": ()}
    modules |= {"ultralytics.nn.tasks": (DetectionModel,)}
    for name, classes in modules.items():
        module = ModuleType(name)
        for cls in classes:
            monkeypatch.setattr(cls, "__module__", name)
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, name, module)


def load(path: Path) -> nn.Module:
    """Load as its loader does: fp32, fused (again), eval."""
    model: nn.Module = torch.load(path, map_location="cpu", weights_only=False)["model"].float().fuse().eval()
    return model
