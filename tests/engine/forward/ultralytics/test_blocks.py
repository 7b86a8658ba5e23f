"""Ultralytics' blocks and models: what is fused, what is refused with which code, what is left alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from app.engine import fuse_checkpoint
from app.engine.formats import read_file
from app.engine.ir.checkpoint import find_model
from app.engine.ir.module import Module
from app.options import FuseOptions
from tests.engine import yolo_code
from tests.engine.forward import kept
from tests.engine.nets import BATCH_NORMS, CONVS, counted, error, fuse, tolerance, trained


@pytest.fixture(autouse=True)
def _code(monkeypatch: pytest.MonkeyPatch) -> None:
    yolo_code.install(monkeypatch)


@pytest.mark.parametrize("identity", [True, False])
def test_a_rep_conv_becomes_one_convolution_and_its_activation(identity: bool, tmp_path: Path) -> None:
    block = trained(yolo_code.RepConv(6, identity)).eval()

    fused = fuse(block, tmp_path)

    assert (counted(fused.loaded, BATCH_NORMS), counted(fused.loaded, CONVS)) == (0, 1)
    assert [name for name, _ in fused.loaded.named_children()] == ["conv", "act"]
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32)


def test_a_depthwise_pair_of_kernels_becomes_one_convolution(tmp_path: Path) -> None:
    block = trained(yolo_code.RepVGGDW(6)).eval()

    fused = fuse(block, tmp_path)

    assert (counted(fused.loaded, BATCH_NORMS), counted(fused.loaded, CONVS)) == (0, 1)
    assert fused.loaded.conv.weight.shape == (6, 1, 7, 7)
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) < tolerance(torch.float32)


def test_a_rep_conv_with_an_activation_in_a_branch_is_refused(tmp_path: Path) -> None:
    block = trained(yolo_code.RepConv(6)).eval()
    block.conv1.act = nn.ReLU()

    fused = fuse(block, tmp_path)

    assert set(fused.codes.values()) == {"slot-not-whole", "different-inputs"}
    assert error(block, fused.loaded, torch.randn(2, 6, 9, 7)) == 0.0


def test_a_conv_whose_norm_has_no_statistics_is_refused(tmp_path: Path) -> None:
    block = yolo_code.Conv(3, 6, 3).eval()
    block.bn = nn.BatchNorm2d(6, track_running_stats=False)

    fused = fuse(block, tmp_path)

    assert fused.report.summary.layers_replaced == 0
    assert set(fused.codes.values()) == {"batch-norm-without-statistics"}


def test_a_class_of_that_path_with_other_children_is_left_alone(tmp_path: Path) -> None:
    block = trained(yolo_code.RepVGGDW(6)).eval()
    block.extra = nn.Conv2d(6, 6, 1)

    fused = fuse(nn.Sequential(block), tmp_path)

    assert type(fused.loaded[0]) is yolo_code.RepVGGDW
    assert fused.report.equivalence.scope == "blocks"


def test_a_fused_model_loads_in_its_code_and_survives_the_second_fuse(tmp_path: Path) -> None:
    source = kept.checkpoint("ultralytics", "yolov8", tmp_path)
    report = fuse_checkpoint(source, tmp_path / "fused.pt", FuseOptions(), filename="yolov8.pt")
    (x,), (expected, *_) = kept.oracle("ultralytics", "yolov8")

    with torch.no_grad():
        found = yolo_code.load(tmp_path / "fused.pt")(x)

    error = (found - expected).abs().amax((0, 2)) / expected.abs().amax((0, 2))
    assert float(error.max()) <= 8 * report.equivalence.stored.noise


def test_the_one_to_many_branch_takes_no_memory_and_is_still_found_by_its_name(tmp_path: Path) -> None:
    source = kept.checkpoint("ultralytics", "yolov10", tmp_path)

    report = fuse_checkpoint(source, tmp_path / "fused.pt", FuseOptions(), filename="yolov10.pt")

    head = [layer for _, layer in _layers(tmp_path / "fused.pt").children()][-1]
    assert [part.path for part in report.removed if "." in part.path] == [f"{head.path}.cv2", f"{head.path}.cv3"]
    for name in ("cv2", "cv3"):
        assert head.child(name).node is head.child(f"one2one_{name}").node
    assert report.summary.parameters_after < kept.facts("ultralytics")["yolov10"]["own_fuse_parameters"]


def _layers(path: Path) -> Module:
    layers = find_model(read_file(path).root).module.child("model")
    assert layers is not None
    return layers
