"""YOLOv5's heads since release 6.0: anchors are kept in strides and scaled by the head itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Shapes
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, expression
from app.engine.forward.yolov7 import decode
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

DETECT = "models.yolo.Detect"
SEGMENT = "models.yolo.Segment"
_CLASS_ATTRIBUTES = {"stride": None, "dynamic": False, "export": False}


def detect(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """One 1x1 convolution a level, then boxes; the raw maps stand beside them."""
    raw = _raw(block, maps, ops)
    return _outputs(block, _boxes(block, raw, ops), raw)


def segment(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """Boxes with the coefficients of their masks, mask prototypes of the finest map, and the raw maps."""
    prototypes = block.proto(maps[0])
    raw = _raw(block, maps, ops)
    boxes, *rest = _outputs(block, _boxes(block, raw, ops), raw)
    return (boxes, prototypes, *rest)


def _outputs(block: Block, boxes: Value, raw: list[Value]) -> tuple[Any, ...]:
    return (boxes,) if block.export else (boxes, raw)


def _raw(block: Block, maps: Sequence[Value], ops: Ops) -> list[Value]:
    found = [block.m[level](maps[level]) for level in range(block.nl)]
    return [ops.apply("anchored", decode.anchored, x, block.na, block.no) for x in found]


def _boxes(block: Block, raw: Sequence[Value], ops: Ops) -> Value:
    stride, anchors = block.stride, block.anchors
    if not isinstance(stride, Const) or not isinstance(anchors, Const):
        raise UnknownFlow(block.module.path, "structure-differs", "the head's strides or anchors were never set")
    sizes = expression(anchor_sizes, anchors, stride)
    masks = block.no - block.nc - 5
    return ops.concat(
        [ops.apply("boxes", boxes_and_masks, x, stride, sizes, level, masks) for level, x in enumerate(raw)]
    )


def anchor_sizes(anchors: Tensor, stride: Tensor) -> Tensor:
    """(levels, anchors, 2) in strides to (levels, 1, anchors, 1, 1, 2) in pixels."""
    return (anchors * stride.reshape(-1, 1, 1))[:, None, :, None, None, :]


def boxes_and_masks(raw: Tensor, stride: Tensor, sizes: Tensor, level: int, masks: int) -> Tensor:
    """Boxes of one level; mask coefficients behind the class scores are handed on as they are."""
    detection = raw[..., : raw.shape[-1] - masks]
    boxes = decode.boxes(detection, stride, sizes, level)
    return torch.cat((boxes, raw[..., raw.shape[-1] - masks :].flatten(1, 3)), -1)


def _fits(module: Module) -> bool:
    """`anchors` is a buffer and `anchor_grid` a list of what the head has computed for some image size."""
    counted = all(isinstance(module.attribute(name, None), int) for name in ("nl", "na", "no", "nc"))
    grids = isinstance(module.attribute("anchor_grid", None), list)
    return has_children(module, "m") and "anchors" in module.table("_buffers") and grids and counted


def _detect_fits(module: Module) -> bool:
    return _fits(module) and module.attribute("no") == module.attribute("nc") + 5


def _segment_fits(module: Module) -> bool:
    masks = module.attribute("nm", None)
    exact = isinstance(masks, int) and module.attribute("no", 0) == module.attribute("nc", 0) + 5 + masks
    return _fits(module) and has_children(module, "proto") and exact


def _shapes(module: Module) -> Shapes | None:
    """Batch 2, one map a level, each half the one before."""
    convolutions = module.child("m")
    levels = [input_channels(level) for _, level in convolutions.children()] if convolutions is not None else []
    if None in levels:
        return None
    sizes = [2 ** (len(levels) - 1 - number) for number in range(len(levels))]
    return tuple((2, taken[0], 2 * size, 3 * size) for taken, size in zip(levels, sizes, strict=True) if taken)


FAMILIES = (
    Family(
        "YOLOv5 Detect",
        (DETECT,),
        detect,
        _detect_fits,
        defaults=_CLASS_ATTRIBUTES,
        example_shapes=_shapes,
        idle=("anchors",),
    ),
    Family(
        "YOLOv5 Segment",
        (SEGMENT,),
        segment,
        _segment_fits,
        defaults=_CLASS_ATTRIBUTES,
        example_shapes=_shapes,
        idle=("anchors",),
    ),
)
