"""Real torch models for tests: built, saved, fused, loaded again under torch's own classes and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
CONVS = (nn.modules.conv._ConvNd,)


def norm(channels: int, dims: int = 2, **options: Any) -> nn.Module:
    """A batch norm that has seen something."""
    return trained(NORMS[dims](channels, **options))


def trained(module: nn.Module) -> nn.Module:
    """Statistics and affine parameters of every batch norm as after some training."""
    for part in module.modules():
        if isinstance(part, BATCH_NORMS):
            if part.running_mean is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
    return module


def pair(conv: nn.Module, **options: Any) -> nn.Sequential:
    """The convolution with its batch norm and an activation."""
    dims = conv.weight.ndim - 2
    return nn.Sequential(conv, norm(conv.out_channels, dims, **options), nn.SiLU()).eval()


class Unknown(nn.Module):
    """A class that nobody describes, with these children; its forward is not in the file."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


@dataclass(frozen=True)
class Fused:
    report: Report
    loaded: Any  # what torch.load makes of the written file
    path: Path

    @property
    def codes(self) -> dict[str, str]:
        return {refused.path: refused.code for refused in self.report.refused}


def fuse(content: Any, directory: Path, **options: Any) -> Fused:
    """Save, fuse and load again."""
    source, target = directory / "source.pt", directory / "target.pt"
    torch.save(content, source)
    return fuse_file(source, target, **options)


def fuse_file(
    source: Path, target: Path, *, load: bool = True, allowed_globals: tuple[str, ...] = (), **options: Any
) -> Fused:
    """Fuse and, where its classes are at hand, load again."""
    asked = FuseOptions(**options)
    report = fuse_checkpoint(source, target, asked, filename=source.name, allowed_globals=allowed_globals)
    return Fused(report, torch.load(target, weights_only=False) if load else None, target)


def error(before: nn.Module, after: nn.Module, *inputs: Tensor) -> float:
    """Largest relative difference of the outputs, in float64, each model in its own words."""
    worst = 0.0
    with torch.no_grad():
        for x in inputs:
            old, new = before.double().eval()(x.double()), after.double().eval()(x.double())
            assert old.shape == new.shape
            assert bool(new.isfinite().all())
            worst = max(worst, float((old - new).abs().max() / old.abs().max()))
    return worst


def tolerance(dtype: torch.dtype, layers: int = 4) -> float:
    """What rounding each folded weight once may do to the outputs of a few random layers."""
    return 16 * layers * torch.finfo(dtype).eps


def counted(module: nn.Module, kinds: Sequence[type]) -> int:
    return sum(isinstance(part, tuple(kinds)) for part in module.modules())


def classes(module: nn.Module) -> list[str]:
    """Class names of the leaves, in order."""
    return [type(part).__name__ for part in module.modules() if not list(part.children())]
