"""YOLOv6's whole models: backbone, neck and head."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.engine.forward.family import Family, PrunedLayer, Shapes
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov6.head import HEADS, reduce
from app.engine.ir.graph import Value
from app.engine.ir.module import Module
from app.engine.ir.tensors import tensor_of


def model(block: Block, image: Value, ops: Ops) -> list[Any]:
    """What the head makes of the neck's maps, and those."""
    maps = block.neck(block.backbone(image))
    return [block.detect(maps), list(maps)]


def prune(module: Module) -> Sequence[PrunedLayer]:
    head = module.child("detect")
    return reduce(head) if head is not None else ()


def _fits(module: Module) -> bool:
    """Its first version had another head, and gave its output alone."""
    head = module.child("detect")
    known = head is not None and head.class_path in HEADS
    return known and has_children(module, "backbone", "neck") and not module.attribute("export", False)


def _stride(module: Module) -> int | None:
    head = module.child("detect")
    stored = tensor_of(head.attribute("stride", None)) if head is not None else None
    return int(stored.read().max()) if stored is not None and stored.numel else None


def _shapes(module: Module) -> Shapes | None:
    """Not square, and whole strides."""
    stride, taken = _stride(module), input_channels(module)
    if stride is None or taken is None or not 0 < stride <= 256:
        return None
    return ((2, taken[0], 2 * stride, 3 * stride),)


def facts(module: Module) -> Mapping[str, Any]:
    known: dict[str, Any] = {"family": "YOLOv6"}
    head, taken = module.child("detect"), input_channels(module)
    found = {
        "channels": taken[0] if taken is not None else None,
        "classes": head.attribute("nc", None) if head is not None else None,
        "stride": _stride(module),
    }
    return known | {name: number for name, number in found.items() if isinstance(number, int)}


FAMILIES = (
    Family(
        "YOLOv6",
        ("yolov6.models.yolo.Model", "yolov6.models.yolo_lite.Model"),
        model,
        _fits,
        example_shapes=_shapes,
        facts=facts,
        prune=prune,
        runs_in="float32",
    ),
)
