"""State dicts of YOLOv8 to v12 and YOLOv9: convolution blocks as whole modules give them."""

from pathlib import Path

import pytest
import torch

from app.engine import fuse_checkpoint
from app.engine.ir.module import Module
from app.options import FuseOptions
from tests.engine.forward.kept import checkpoint
from tests.engine.forward.published import edited
from tests.engine.weights.test_families import fused, saved, state_dict_of


def _set_eps(model: Module) -> None:
    """As the code bases' own initialisation does; heads of these small files were made anew after it."""
    for module in model.walk():
        if module.class_path.endswith("BatchNorm2d"):
            module.state["eps"] = 1e-3


@pytest.mark.parametrize(
    ("family", "name", "architecture", "head"),
    [
        ("ultralytics", "yolov8", "ultralytics", ""),
        ("ultralytics", "yolo11", "ultralytics", ""),
        ("ultralytics", "yolov10", "ultralytics", "model.12."),  # whole, its head for training gives way to the other
        ("yolov9", "gelan", "yolov9", ""),
    ],
)
def test_tensors_are_those_of_the_whole_module(
    family: str, name: str, architecture: str, head: str, tmp_path: Path
) -> None:
    source, _ = edited(checkpoint(family, name, tmp_path), tmp_path / "eps.pt", _set_eps)
    fuse_checkpoint(source, tmp_path / "module.pt", FuseOptions(), filename="module.pt")

    found, report = fused(saved(state_dict_of(source), tmp_path), tmp_path, architecture=architecture)

    expected = state_dict_of(tmp_path / "module.pt")
    alike = [name for name in expected if not head or not name.startswith(head)]
    assert found.keys() >= set(alike)
    assert all(torch.equal(found[name], expected[name]) for name in alike)
    assert report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11
    assert any("eps 0.001 was taken" in note for note in report.notes)
