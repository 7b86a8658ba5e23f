"""YOLOv5's whole models: the layer list that YOLOv7 shares, with heads of its own."""

from app.engine.forward.family import Family
from app.engine.forward.yolov5.blocks import classify_fits
from app.engine.forward.yolov5.heads import DETECT, SEGMENT
from app.engine.forward.yolov7.model import facts_as, image_shapes, is_layer_list, layers_of, model
from app.engine.forward.yolov7.prune import prune
from app.engine.ir.module import Module


def _fits(module: Module) -> bool:
    """The last layer is a head of YOLOv5: other code bases have models of the same class path."""
    if not is_layer_list(module):
        return False
    head = layers_of(module)[-1]
    if head.class_path in (DETECT, SEGMENT):
        return isinstance(head.attribute("anchor_grid", None), list)
    return head.class_path == "models.common.Classify" and classify_fits(head)


FAMILIES = tuple(
    Family(
        f"YOLOv5 {name}",
        (f"models.yolo.{name}",),
        model,
        _fits,
        defaults={"traced": False},
        example_shapes=image_shapes,
        facts=facts_as("YOLOv5"),
        prune=prune,
        runs_in="float32",
    )
    for name in ("DetectionModel", "SegmentationModel", "ClassificationModel", "Model")
)
