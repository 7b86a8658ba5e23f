"""YOLOv10 (arXiv 2405.14458): Ultralytics' blocks, and a head whose one-to-many branch serves training."""

from typing import Final

from app.engine.forward.family import PrunedLayer
from app.engine.forward.yolov7.prune import nbytes
from app.engine.ir.module import Module
from app.engine.weights.families.form import FamilyForm
from app.engine.weights.families.reduction import NOTHING, Reduced, last_layer
from app.engine.weights.families.ultralytics import BLOCKS

_MANY: Final = ("cv2", "cv3")
_ONE: Final = ("one2one_cv2", "one2one_cv3")
_REASON: Final = "the one-to-many branch serves training: inference reads the one-to-one branch"
_NOTE: Final = (
    "the one-to-many branch was left out, as the fuse() of Ultralytics' newer releases does: "
    "load it after that; releases whose fuse() keeps the branch take the file with strict=False"
)


def has_both_branches(root: Module) -> bool:
    """Whether the last layer has a one-to-one branch beside the other, and distributions: what YOLO26 has not."""
    head = last_layer(root)
    return head is not None and all(head.child(name) is not None for name in (*_MANY, *_ONE, "dfl"))


def reduce(root: Module) -> Reduced:
    head = last_layer(root)
    if head is None or not has_both_branches(root):
        return NOTHING
    branches = [child for name, child in head.children() if name in _MANY]
    removed = tuple(PrunedLayer(branch.path, _REASON, nbytes(branch)) for branch in branches)
    for name in _MANY:
        del head.table("_modules")[name]
    return Reduced(removed, (_NOTE,))


FORM: Final = FamilyForm("yolov10", "YOLOv10", BLOCKS, eps=1e-3, reduce=reduce, known_by=has_both_branches)
