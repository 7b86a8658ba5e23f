"""YOLOv5's models inside wrappers and training checkpoints, and models that are not quite its own."""

from pathlib import Path
from typing import Any

import pytest

from app.engine import fuse_checkpoint
from app.engine.formats import read_file, write_file
from app.engine.forward.families import family_of
from app.engine.ir.checkpoint import find_model
from app.engine.ir.module import Module, mapping, module_node
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward import kept

SAVED = kept.names("yolov5")[0]


@pytest.fixture
def file(tmp_path: Path) -> Any:
    return read_file(kept.checkpoint("yolov5", SAVED, tmp_path))


def _fused(file: Any, root: Any, folder: Path) -> tuple[Report, Any]:
    write_file(file, root, folder / "changed.pt")
    report = fuse_checkpoint(folder / "changed.pt", folder / "fused.pt", FuseOptions(), filename="changed.pt")
    return report, read_file(folder / "fused.pt").root


def _layer(file: Any, number: int) -> Module:
    layers = find_model(file.root).module.child("model")
    assert layers is not None
    layer = layers.child(str(number))
    assert layer is not None
    return layer


def test_a_wrapper_for_images_stays_as_it_is_around_the_fused_model(file: Any, tmp_path: Path) -> None:
    model = find_model(file.root).module.node
    backend = module_node(("models.common", "DetectMultiBackend"), training=False, modules={"model": model})
    wrapper = module_node(("models.common", "AutoShape"), training=False, modules={"model": backend})
    wrapper.state.update(conf=0.25, iou=0.45, pt=True)

    report, root = _fused(file, wrapper, tmp_path)

    written = Module(root)
    assert (written.class_path, written.attribute("conf")) == ("models.common.AutoShape", 0.25)
    assert written.child("model").child("model").class_path == "models.yolo.DetectionModel"
    assert report.summary.parameters_after <= kept.facts("yolov5")[SAVED]["own_fuse_parameters"]
    assert report.equivalence.scope == "blocks"


def test_of_a_training_checkpoint_the_averaged_weights_are_kept_under_model(file: Any, tmp_path: Path) -> None:
    table = mapping(file.root)
    table["ema"] = table["model"]
    table["optimizer"] = {"state": {}, "param_groups": []}

    report, root = _fused(file, file.root, tmp_path)

    written = mapping(root)
    assert (written["ema"], written["optimizer"], written["epoch"]) == (None, None, 3)
    assert Module(written["model"]).class_path == "models.yolo.DetectionModel"
    assert any("'ema'" in note for note in report.notes)


def test_a_conv_with_a_hook_is_left_and_the_rest_is_proved_block_by_block(file: Any, tmp_path: Path) -> None:
    hooked = _layer(file, 0)
    mapping(hooked.state["_forward_hooks"])[7] = "a callable"

    report, _ = _fused(file, file.root, tmp_path)

    assert report.equivalence.scope == "blocks"
    assert report.summary.layers_replaced > 30
    assert {cut.code for cut in report.refused if cut.path.startswith("model.0.")} == {"data-flow-not-proven"}


def test_a_model_with_a_head_of_its_own_is_not_taken_for_yolov5(file: Any) -> None:
    model = find_model(file.root).module
    head = _layer(file, 16)
    head.state["no"] = head.attribute("no") + 1

    assert family_of(head) is None
    assert family_of(model).read_as == "YOLOv5 DetectionModel"
