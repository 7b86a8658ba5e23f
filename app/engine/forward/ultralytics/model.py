"""Ultralytics' whole models: a layer list as YOLOv5's; and YOLOv10's head without what inference never reads."""

from collections.abc import Sequence

from app.engine.forward.family import Family, PrunedLayer
from app.engine.forward.ultralytics.naming import paths
from app.engine.forward.yolov7.model import facts_as, image_shapes, is_layer_list, layers_of, model
from app.engine.forward.yolov7.prune import count_parameters, nbytes
from app.engine.ir.module import Module

_ONE_TO_ONE_HEAD = paths("head", "v10Detect")
_BRANCHES = {"cv2": "one2one_cv2", "cv3": "one2one_cv3"}


def prune(module: Module) -> Sequence[PrunedLayer]:
    """Each list of the one-to-many branch becomes the one-to-one branch's own, and takes no memory.

    Some releases look into the list, and later ones drop it: both find what they expect.
    """
    removed = []
    for head in layers_of(module)[-1:]:
        for name, kept in _BRANCHES.items() if head.class_path in _ONE_TO_ONE_HEAD else ():
            branch, other = head.child(name), head.child(kept)
            if branch is None or other is None or branch.node is other.node:
                continue
            reason = "the one-to-many branch serves training: inference reads the one-to-one branch"
            removed.append(PrunedLayer(branch.path, reason, nbytes(branch)))
            head.replace_child(name, other.node)
    for layer in layers_of(module):
        count_parameters(layer)
    return removed


def _models(*names: str) -> tuple[str, ...]:
    return tuple(f"ultralytics.nn.tasks.{name}" for name in names)


FAMILIES = (
    Family(
        "Ultralytics model",
        _models(
            "DetectionModel",
            "SegmentationModel",
            "PoseModel",
            "OBBModel",
            "ClassificationModel",
            "YOLOv10DetectionModel",
        ),
        model,
        is_layer_list,
        defaults={"traced": False},
        example_shapes=image_shapes,
        facts=facts_as("Ultralytics YOLO"),
        prune=prune,
        runs_in="float32",
    ),
)
