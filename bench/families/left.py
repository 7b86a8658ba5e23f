"""What is left of timm's re-parameterisable families: by us, from a state dict, and by timm's own function."""

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from app.engine import fuse_checkpoint
from app.engine.verify.compare import relative_error
from app.engine.zoo.deployed import deployed, loaded
from app.options import FuseOptions

# The smallest model of each module of timm that has a block with a deploy form.
FAMILIES = (
    *("repvgg_a0", "mobileone_s0", "fastvit_t8", "repghostnet_050", "repvit_m0_9", "levit_128s", "ghostnetv3_050"),
    *(
        "efficientvit_m0",
        "shvit_s1",
        "tiny_vit_5m_224",
        "lcnetv2_small",
        "iformer_t",
        "efficientvim_m1",
        "nextvit_small",
    ),
)


@dataclass(frozen=True, slots=True)
class Left:
    """Counts, and errors against the original in float64: of the stored numbers, and of a run in float32."""

    norms: int
    convolutions: int
    parameters: int
    stored: float
    native: float


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    before: Left
    ours: Left | None
    timm: Left
    identity: float
    foldable: int  # norms left that could have been folded, by the report
    note: str


def rows(names: tuple[str, ...]) -> Iterator[Row]:
    for name in names:
        if name not in timm.list_models():
            raise SystemExit(f"timm has no {name}")
        yield _row(name)


def randomised(model: nn.Module) -> nn.Module:
    """Statistics and affine values that are not those of a fresh norm."""
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                if module.weight is not None:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.1)
    return model.eval().requires_grad_(False)


def _row(name: str) -> Row:
    torch.manual_seed(0)
    model = randomised(timm.create_model(name))
    x = torch.rand(2, *model.pretrained_cfg["input_size"])
    reference = copy.deepcopy(model).double()(x.double())
    theirs = reparameterize_model(copy.deepcopy(model))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "weights.pth", Path(folder) / "fused.pth"
        torch.save(model.state_dict(), source)
        options = FuseOptions(architecture=f"timm/{name}")
        report = fuse_checkpoint(source, target, options, filename="weights.pth")
        state: dict[str, Tensor] = torch.load(target)
    assert report.equivalence is not None
    note, ours = "", None
    try:
        ours = _left(loaded(deployed(timm.create_model(name), state), state), x, reference)
    except RuntimeError as error:
        note = f"not loaded into timm's form: {str(error)[:100]}"
    codes = sorted({cut.code for cut in report.refused if "norm" in cut.reason.lower()})
    foldable = report.summary.batch_norms_after
    note = note or ", ".join(codes)
    return Row(name, _left(model, x, reference), ours, _left(theirs, x, reference), _identity(report), foldable, note)


def _identity(report: Any) -> float:
    return float(report.equivalence.identity.relative)


def _left(model: nn.Module, x: Tensor, reference: Tensor) -> Left:
    norms = sum(getattr(module, "running_var", None) is not None for module in model.modules())
    convolutions = sum(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    native = relative_error(model(x), reference)
    stored = relative_error(copy.deepcopy(model).double()(x.double()), reference)
    return Left(norms, convolutions, parameters, stored, native)
