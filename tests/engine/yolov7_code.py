"""Stand-ins for the code that wrote a YOLOv7 checkpoint: classes under its module paths, and a loader that fuses again.

Written for these tests from the papers and from what the files hold. They compute what the deployed classes compute;
what a fused file must no longer contain (an implicit vector, a batch norm, an auxiliary head) has no class here.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class Conv(nn.Module):
    """Present only so that the loader can look for it: a fused file has none left."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class MP(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.m(x)


class Concat(nn.Module):
    def forward(self, xs: list[Tensor]) -> Tensor:
        return torch.cat(xs, self.d)


class ReOrg(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tiles = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return torch.cat(tiles, 1)


class SPPCSPC(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        inner = self.cv4(self.cv3(self.cv1(x)))
        pooled = torch.cat([inner, *(pool(inner) for pool in self.m)], 1)
        return self.cv7(torch.cat([self.cv6(self.cv5(pooled)), self.cv2(x)], 1))


class RepConv(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.rbr_reparam(x))

    def refuse(self) -> None:
        if not self.deploy:
            raise AssertionError("the loader would fold the branches of a RepConv that has none")


class RepConv_OREPA(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.se(self.rbr_reparam(x)))

    def refuse(self) -> None:
        if not hasattr(self, "rbr_reparam"):
            raise AssertionError("the loader would build rbr_reparam from branches that are gone")


class Detect(nn.Module):
    """Boxes from maps: xy = (2 s(t) - 0.5 + cell) * stride, wh = (2 s(t))^2 * anchor, scores s(t)."""

    stride = None
    export = end2end = include_nms = concat = False

    def forward(self, x: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        boxes = []
        for i, conv in enumerate(self.m):
            maps = conv(x[i])
            batch, _, height, width = maps.shape
            x[i] = maps.view(batch, self.na, self.no, height, width).permute(0, 1, 3, 4, 2).contiguous()
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            cell = torch.stack((columns, rows), 2).to(maps.dtype)
            score = x[i].sigmoid()
            centre = (score[..., :2] * 2 - 0.5 + cell) * self.stride[i]
            size = (score[..., 2:4] * 2) ** 2 * self.anchor_grid[i]
            boxes.append(torch.cat((centre, size, score[..., 4:]), -1).view(batch, -1, self.no))
        return torch.cat(boxes, 1), x


class Model(nn.Module):
    def forward(self, x: Any) -> Any:
        kept: list[Any] = []
        for layer in self.model:
            if layer.f != -1:
                source = layer.f
                x = kept[source] if isinstance(source, int) else [x if j == -1 else kept[j] for j in source]
            x = layer(x)
            kept.append(x if layer.i in self.save else None)
        return x

    def fuse(self) -> "Model":
        """What YOLOv7's loader does to whatever it loads; the folding of a Conv needs a true batch norm."""
        for module in self.modules():
            if isinstance(module, (RepConv, RepConv_OREPA)):
                module.refuse()
            elif type(module) is Conv and hasattr(module, "bn"):
                raise AssertionError(f"a second fold: {module.bn.weight.shape} of a Conv that is left")
        return self


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins where pickles of YOLOv7 look for them."""
    common, yolo = ModuleType("models.common"), ModuleType("models.yolo")
    for cls in (Conv, MP, Concat, ReOrg, SPPCSPC, RepConv, RepConv_OREPA):
        setattr(common, cls.__name__, cls)
    yolo.Detect, yolo.Model = Detect, Model  # type: ignore[attr-defined]
    package = ModuleType("models")
    for name, module in (("models", package), ("models.common", common), ("models.yolo", yolo)):
        monkeypatch.setitem(sys.modules, name, module)


def attempt_load(path: Path) -> nn.Module:
    """Load as YOLOv7 does: fp32, fused (again), eval."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    model: nn.Module = checkpoint["ema" if checkpoint.get("ema") else "model"].float().fuse().eval()
    return model
