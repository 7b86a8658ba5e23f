"""YOLO26's head, which has a one-to-one branch beside the other: when one of them can go, and when both stay."""

from pathlib import Path

import pytest
import torch

from app.engine.forward.families import family_of
from app.engine.ir.module import Module
from tests.engine.forward import kept
from tests.engine.forward.inert import outputs
from tests.engine.forward.published import edited, model_of
from tests.engine.nets import fuse_file


def _head(model: Module) -> Module:
    layers = model.child("model")
    assert layers is not None
    return [layer for _, layer in layers.children()][-1]


def _end_to_end(model: Module) -> None:
    _head(model).state["_end2end"] = True


def test_a_head_that_is_told_to_be_end_to_end_keeps_the_branch_that_it_reads(tmp_path: Path) -> None:
    source = kept.checkpoint("ultralytics", "yolo26", tmp_path)
    (x,), _ = kept.oracle("ultralytics", "yolo26")
    both = outputs(model_of(source), [x])
    copy, _ = edited(source, tmp_path / "copy.pt", _end_to_end)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    head = _head(model_of(done.path))
    assert [name for name, _ in head.children()] == ["dfl", "one2one_cv2", "one2one_cv3"]
    assert head.table("_modules")["cv2"] is None
    assert [part.path.rpartition(".")[2] for part in done.report.removed] == ["cv2", "cv3"]
    assert done.report.equivalence.scope == "model"
    assert done.report.summary.batch_norms_after == 0
    found = outputs(model_of(done.path), [x])
    expected = both[len(both) // 2 :]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-2 * float(other.abs().max()))


@pytest.mark.parametrize("told", [False, None, 1])
def test_a_head_whose_loader_may_read_either_branch_keeps_both(told: object, tmp_path: Path) -> None:
    model = model_of(kept.checkpoint("ultralytics", "yolo26", tmp_path))
    _head(model).state["_end2end"] = told
    family = family_of(model)
    assert family is not None
    assert family.prune is not None

    assert family.prune(model) == []
    assert [name for name, _ in _head(model).children()] == ["cv2", "cv3", "dfl", "one2one_cv2", "one2one_cv3"]
