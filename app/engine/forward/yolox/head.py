"""YOLOX's decoupled head: classes and boxes by branches of their own; arXiv 2107.08430, figure 2."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.engine.forward.family import Family, Shapes
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.decode import Sizes, centres
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_LISTS = ("stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds", "obj_preds")


def head(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
    """(n, cells, 5 + classes): boxes, objectness and class scores of all levels, the finest first."""
    found = [_level(block, level, x, ops) for level, x in enumerate(maps)]
    cells = ops.concat([ops.apply("cells", cells_of, x) for x in found], 1)
    if not block.decode_in_inference:
        return cells
    sizes = tuple((x.shape[2], x.shape[3]) for x in found)
    return ops.apply("boxes", boxes, cells, tuple(block.strides), sizes)


def _level(block: Block, level: int, x: Value, ops: Ops) -> Value:
    shared = block.stems[level](x)
    box_map = block.reg_convs[level](shared)
    classes = block.cls_preds[level](block.cls_convs[level](shared))
    return ops.apply("scores", scored, block.reg_preds[level](box_map), block.obj_preds[level](box_map), classes)


def scored(box: Tensor, objectness: Tensor, classes: Tensor) -> Tensor:
    return torch.cat((box, torch.sigmoid(objectness), torch.sigmoid(classes)), 1)


def cells_of(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h * w, c)."""
    return x.flatten(2).transpose(1, 2)


def boxes(cells: Tensor, strides: tuple[float, ...], sizes: Sizes) -> Tensor:
    """Centres as offsets from a cell's corner, sizes as exponents, both in strides; section 2.1 of the paper."""
    corners = centres(sizes, cells).transpose(0, 1) - 0.5
    steps = [torch.full((h * w, 1), float(s), dtype=cells.dtype) for s, (h, w) in zip(strides, sizes, strict=False)]
    stride = torch.cat(steps).to(cells.device)
    where = (cells[..., :2] + corners) * stride
    return torch.cat((where, torch.exp(cells[..., 2:4]) * stride, cells[..., 4:]), -1)


def _fits(module: Module) -> bool:
    strides = module.attribute("strides", None)
    plain = isinstance(strides, (list, tuple)) and all(type(stride) in (int, float) for stride in strides)
    return has_children(module, *_LISTS) and plain


def _shapes(module: Module) -> Shapes | None:
    """Batch 2, one map a level, each half the one before."""
    stems = module.child("stems")
    levels = [input_channels(stem) for _, stem in stems.children()] if stems is not None else []
    if not levels or None in levels:
        return None
    sizes = [2 ** (len(levels) - 1 - number) for number in range(len(levels))]
    return tuple((2, taken[0], 2 * size, 3 * size) for taken, size in zip(levels, sizes, strict=True) if taken)


FAMILIES = (
    Family(
        "YOLOX YOLOXHead",
        ("yolox.models.yolo_head.YOLOXHead",),
        head,
        _fits,
        defaults={"decode_in_inference": True},
        example_shapes=_shapes,
        idle=("l1_loss", "iou_loss", "bcewithlog_loss"),
    ),
)
