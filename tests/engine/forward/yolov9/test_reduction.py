"""YOLOv9's heads: when the auxiliary branches go, and when they stay."""

from pathlib import Path
from typing import Any

import pytest

from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.ir.checkpoint import find_model
from app.engine.ir.module import Module
from tests.engine.forward import kept


@pytest.fixture
def model(tmp_path: Path) -> Module:
    return find_model(read_file(kept.checkpoint("yolov9", "yolov9", tmp_path)).root).module


def _head(model: Module) -> Module:
    layers = model.child("model")
    assert layers is not None
    return [layer for _, layer in layers.children()][-1]


def _prune(model: Module) -> list[Any]:
    family = family_of(model)
    assert family is not None
    assert family.prune is not None
    return list(family.prune(model))


def test_the_main_branch_takes_the_names_of_the_only_one(model: Module) -> None:
    head = _head(model)
    main = {new: head.child(old).node for old, new in {"cv4": "cv2", "cv5": "cv3", "dfl2": "dfl"}.items()}

    removed = _prune(model)

    assert {name: child.node for name, child in _head(model).children()} == main
    assert len(removed) == 12
    assert _prune(model) == []


def test_a_head_with_other_inputs_than_its_branches_need_keeps_them(model: Module) -> None:
    head = _head(model)
    head.state["f"] = head.attribute("f")[:-1]

    assert _prune(model) == []
    assert _head(model).class_path == "models.yolo.DualDDetect"


def test_a_model_without_a_configuration_is_reduced_all_the_same(model: Module) -> None:
    model.state["yaml"] = None

    assert len(_prune(model)) == 12
    assert _head(model).class_path == "models.yolo.DDetect"


def test_a_head_of_another_code_base_is_not_taken_for_one_of_these(model: Module) -> None:
    head = _head(model)
    head.table("_modules").pop("dfl2")

    assert family_of(head) is None
