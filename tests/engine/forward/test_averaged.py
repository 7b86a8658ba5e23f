"""RepLKNet's last norm, before the mean of the map: the classifier takes it in, where the mean is one."""

from pathlib import Path

import torch

from app.engine import fuse_checkpoint
from app.engine.forward.structure import below
from app.engine.ir.module import Module, module_node
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward.published import edited, file_of, model_of

_MODEL = file_of("replknet", "model")
_LARGEST = ("torch.nn.modules.pooling", "AdaptiveMaxPool2d")


def _fused(source: Path, tmp_path: Path) -> tuple[Module, Report]:
    report = fuse_checkpoint(source, tmp_path / "fused.pt", FuseOptions(), filename="model.pt")
    return model_of(tmp_path / "fused.pt"), report


def test_the_classifier_takes_in_the_norm(tmp_path: Path) -> None:
    before = _MODEL.model()
    after, report = _fused(_MODEL.path, tmp_path)

    assert report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11
    norm = {name: _read(before, "norm", name) for name in ("weight", "bias", "running_mean", "running_var")}
    factor = norm["weight"] / (norm["running_var"] + 1e-5).sqrt()
    head = _read(before, "head", "weight")
    torch.testing.assert_close(_read(after, "head", "weight"), head * factor, rtol=1e-6, atol=1e-6)
    offset = _read(before, "head", "bias") + head @ (norm["bias"] - norm["running_mean"] * factor)
    torch.testing.assert_close(_read(after, "head", "bias"), offset, rtol=1e-6, atol=1e-6)


def _read(model: Module, path: str, name: str) -> torch.Tensor:
    layer = below(model, path)
    stored = layer.tensor(name) if layer is not None else None
    assert stored is not None
    return stored.read().double()


def test_behind_the_largest_of_a_map_it_stays(tmp_path: Path) -> None:
    def pool(model: Module) -> None:
        model.replace_child("avgpool", module_node(_LARGEST, training=False, attributes={"output_size": 1}))

    copy, _ = edited(_MODEL.path, tmp_path / "copy.pt", pool)

    after, report = _fused(copy, tmp_path)

    assert report.summary.batch_norms_after == 1
    assert torch.equal(_read(after, "head", "weight"), _read(_MODEL.model(), "head", "weight"))
