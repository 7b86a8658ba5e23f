"""YOLOv6's whole models: what goes with the branches that serve training, and what is not followed as a whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.forward.families import family_of
from app.engine.forward.family import PrunedLayer
from app.engine.fuse.units import find_units
from app.engine.ir.module import Module
from tests.engine.forward import kept
from tests.engine.forward.published import model_of

LISTS = ["stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds"]


def _model(name: str, folder: Path) -> Module:
    return model_of(kept.checkpoint("yolov6", name, folder))


def _prune(model: Module) -> list[PrunedLayer]:
    family = family_of(model)
    assert family is not None
    assert family.prune is not None
    return list(family.prune(model))


@pytest.mark.parametrize(
    ("name", "gone"),
    [("yolov6n", ["cls_preds_ab", "reg_preds_ab"]), ("yolov6-qa", ["reg_preds_dist"])],
)
def test_branches_for_training_go_and_the_plain_head_is_left(name: str, gone: list[str], tmp_path: Path) -> None:
    model = _model(name, tmp_path)

    removed = _prune(model)

    head = model.child("detect")
    assert head.class_path == "yolov6.models.effidehead.Detect"
    assert [child for child, _ in head.children()] == ["proj_conv", *LISTS]
    assert head.attribute("use_dfl") is False
    assert [part.path for part in removed] == [f"detect.{name}" for name in gone]
    assert all(part.bytes > 0 for part in removed)
    assert _prune(model) == []


@pytest.mark.parametrize("name", ["yolov6-first-csp", "yolov6-lite"])
def test_a_head_without_such_branches_stays_as_it_is(name: str, tmp_path: Path) -> None:
    model = _model(name, tmp_path)
    head = model.child("detect")
    before = (head.class_path, dict(head.state))

    assert _prune(model) == []
    assert (head.class_path, dict(head.state)) == before


def _quantised(model: Module) -> None:
    model.child("neck").state["_QUANT"] = True


def _exported(model: Module) -> None:
    model.child("detect").state["export"] = True


def _with_another_map(model: Module) -> None:
    model.child("backbone").state["fuse_P2"] = True


def _of_one_path(model: Module) -> None:
    model.child("backbone").child("ERBlock_2").child("1").state["concat"] = False


def _of_an_unknown_head(model: Module) -> None:
    model.child("detect").drop("proj_conv")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_quantised, "no description fits class yolov6.models.reppan.CSPRepPANNeck"),
        (_exported, "no description fits class yolov6.models.effidehead.Detect"),
        (_of_an_unknown_head, "no description fits class yolov6.models.effidehead.Detect"),
        (_of_one_path, "no description fits class yolov6.layers.common.BepC3"),
        (_with_another_map, "it does not take 4 maps"),
    ],
)
def test_a_model_that_computes_something_else_is_fused_block_by_block(
    edit: Callable[[Module], None], reason: str, tmp_path: Path
) -> None:
    model = _model("yolov6-first-csp", tmp_path)
    edit(model)

    units = find_units(model)

    assert not units.whole
    assert reason in units.reason
    assert len(units.units) > 10
    assert units.unknown == ()
