"""YOLOX's backbone, path aggregation and whole model."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.engine.forward.family import Family, Shapes
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_STAGES = ("stem", "dark2", "dark3", "dark4", "dark5")
_FUSIONS = ("C3_p4", "C3_p3", "C3_n3", "C3_n4", "bu_conv1", "bu_conv2")


def darknet(block: Block, x: Value, ops: Ops) -> dict[str, Value]:
    """The maps of the stages that are asked for, by name."""
    found: dict[str, Value] = {}
    for name in _STAGES:
        x = found[name] = getattr(block, name)(x)
    return {name: stage for name, stage in found.items() if name in block.out_features}


def path_aggregation(block: Block, image: Value, ops: Ops) -> tuple[Value, ...]:
    """From coarse to fine and back; PANet, arXiv 1803.01534, figure 1."""
    stages = block.backbone(image)
    fine, middle, coarse = (stages[name] for name in block.in_features)
    coarse = block.lateral_conv0(coarse)
    middle = block.reduce_conv1(block.C3_p4(ops.concat([block.upsample(coarse), middle])))
    fine = block.C3_p3(ops.concat([block.upsample(middle), fine]))
    middle = block.C3_n3(ops.concat([block.bu_conv2(fine), middle]))
    return fine, middle, block.C3_n4(ops.concat([block.bu_conv1(middle), coarse]))


def model(block: Block, image: Value, ops: Ops) -> Any:
    return block.head(block.backbone(image))


def _stride(module: Module) -> int | None:
    head = module.child("head")
    strides: Sequence[Any] = head.attribute("strides", ()) if head is not None else ()
    known = isinstance(strides, (list, tuple)) and all(type(stride) is int and 0 < stride <= 256 for stride in strides)
    return max(strides) if known and strides else None


def _shapes(module: Module) -> Shapes | None:
    """Not square, and whole strides."""
    stride = _stride(module)
    return None if stride is None else ((2, 3, 2 * stride, 3 * stride),)


def facts(module: Module) -> Mapping[str, Any]:
    known: dict[str, Any] = {"family": "YOLOX", "channels": 3}
    head = module.child("head")
    classes = head.attribute("num_classes", None) if head is not None else None
    for name, number in (("classes", classes), ("stride", _stride(module))):
        if isinstance(number, int):
            known[name] = number
    return known


FAMILIES = (
    Family(
        "YOLOX CSPDarknet",
        ("yolox.models.darknet.CSPDarknet",),
        darknet,
        lambda module: has_children(module, *_STAGES) and module.has("out_features"),
    ),
    Family(
        "YOLOX YOLOPAFPN",
        ("yolox.models.yolo_pafpn.YOLOPAFPN",),
        path_aggregation,
        lambda module: has_children(module, "backbone", "upsample", "lateral_conv0", "reduce_conv1", *_FUSIONS),
        example_shapes=lambda module: ((2, 3, 64, 96),),
    ),
    Family(
        "YOLOX",
        ("yolox.models.yolox.YOLOX",),
        model,
        lambda module: has_children(module, "backbone", "head"),
        example_shapes=_shapes,
        facts=facts,
        runs_in="float32",
    ),
)
