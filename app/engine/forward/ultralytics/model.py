"""Ultralytics' whole models: a layer list as YOLOv5's; and YOLOv10's head without what inference never reads."""

from collections.abc import Iterator, Sequence

from app.engine.forward.family import Family, PrunedLayer
from app.engine.forward.ultralytics.heads import reads_one_to_one
from app.engine.forward.ultralytics.naming import paths
from app.engine.forward.yolov7.model import facts_as, image_shapes, is_layer_list, layers_of, model
from app.engine.forward.yolov7.prune import count_parameters, nbytes
from app.engine.ir.module import Module

_ONE_TO_ONE_HEAD = paths("head", "v10Detect")
_EITHER_HEAD = paths("head", "Detect")
_REASON = "the one-to-many branch serves training: inference reads the one-to-one branch"
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
            removed.append(PrunedLayer(branch.path, _REASON, nbytes(branch)))
            head.replace_child(name, other.node)
        if head.class_path in _EITHER_HEAD and reads_one_to_one(head):
            removed.extend(_without_one_to_many(head))
    for layer in layers_of(module):
        count_parameters(layer)
    return removed


def _without_one_to_many(head: Module) -> Iterator[PrunedLayer]:
    """As the fuse() of the releases that have such heads leaves them: None in the branch's place."""
    for name in _BRANCHES:
        branch = head.child(name)
        if branch is not None:
            yield PrunedLayer(branch.path, _REASON, nbytes(branch))
            head.replace_child(name, None)


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
