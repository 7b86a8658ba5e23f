"""Ultralytics' anchor-free heads: what they compute in `.eval()`. YOLOv9's are built alike."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Describe, Family, Shapes
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics import decode
from app.engine.forward.ultralytics.naming import described, paths
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.forward.yolov5.blocks import logits
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

CLASS_ATTRIBUTES = {"dynamic": False, "export": False, "xyxy": False}
_NAMED = ("cv2", "cv3")
_ONE_TO_ONE = ("one2one_cv2", "one2one_cv3")


def distribution(block: Block, x: Value, ops: Ops) -> Value:
    """The expectation of each side's distance over its bins; arXiv 2006.04388, equation 4."""
    expected = block.conv(ops.apply("bins", decode.bins_of, x, block.c1))
    return ops.apply("sides", torch.flatten, expected, 1, 2)


def raw_maps(block: Block, maps: Sequence[Value], ops: Ops, names: tuple[str, str]) -> list[Value]:
    """Each level's distance bins and class scores, joined."""
    boxes, classes = (getattr(block, name) for name in names)
    return [ops.concat([boxes[level](x), classes[level](x)]) for level, x in enumerate(maps)]


def stride_of(block: Block) -> Const:
    stride = block.find("stride")
    if not isinstance(stride, Const):
        raise UnknownFlow(block.module.path, "structure-differs", "the head's stride was never set")
    return stride


def sizes_of(maps: Sequence[Value]) -> decode.Sizes:
    return tuple((x.shape[2], x.shape[3]) for x in maps)


def flat(maps: Sequence[Value], ops: Ops) -> Value:
    """The cells of all levels side by side, (n, channels, cells)."""
    return ops.concat([ops.apply("flatten", torch.flatten, x, 2) for x in maps], 2)


def distances_and_scores(block: Block, raw: Sequence[Value], dfl: str, ops: Ops) -> tuple[Value, Value]:
    joined = flat(raw, ops)
    count = 4 * block.reg_max
    distances = getattr(block, dfl)(ops.apply("distances", torch.narrow, joined, 1, 0, count))
    return distances, ops.apply("scores", torch.narrow, joined, 1, count, block.nc)


def boxes_of(block: Block, raw: Sequence[Value], ops: Ops, dfl: str = "dfl", corners: bool = False) -> Value:
    """(n, 4 + classes, cells)"""
    parts = distances_and_scores(block, raw, dfl, ops)
    return ops.apply("boxes", decode.boxes, *parts, stride_of(block), sizes_of(raw), corners)


def detect(block: Block, maps: Any, ops: Ops) -> Any:
    """Boxes, and each level's raw map. Where the head has both branches, a loader may choose either: both.

    Told to be end-to-end (`_end2end`), or without the other branch, it gives the one-to-one branch in every release.
    """
    if reads_one_to_one(block.module):
        return one_to_one(block, maps, ops)
    found = _detected(block, maps, ops, _NAMED, corners=bool(block.xyxy))
    if block.find("one2one_cv2") is None:
        return found
    return found, _detected(block, maps, ops, _ONE_TO_ONE, corners=True)


def reads_one_to_one(module: Module) -> bool:
    """Whether every release of the loader reads the one-to-one branch of a head that may have both."""
    told = module.attribute("_end2end", False) is True or module.child("cv2") is None
    return told and has_children(module, *_ONE_TO_ONE)


def one_to_one(block: Block, maps: Any, ops: Ops) -> Any:
    """YOLOv10's head: inference reads the one-to-one branch alone; arXiv 2405.14458, section 3.1.

    What comes out is what the best boxes are selected from: the selection itself is a sort of these scores.
    """
    return _detected(block, maps, ops, _ONE_TO_ONE, corners=True)


def _detected(block: Block, maps: Sequence[Value], ops: Ops, names: tuple[str, str], corners: bool) -> Any:
    raw = raw_maps(block, maps, ops, names)
    return boxes_of(block, raw, ops, corners=corners), raw


def _extra(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
    """What a head predicts beside boxes and classes."""
    return flat([block.cv4[level](x) for level, x in enumerate(maps)], ops)


def segment(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """Boxes with mask coefficients, and the prototypes that those weigh; YOLACT, arXiv 1904.02689."""
    prototypes, coefficients = block.proto(maps[0]), _extra(block, maps, ops)
    boxes, raw = _detected(block, maps, ops, _NAMED, corners=False)
    return ops.concat([boxes, coefficients]), (raw, coefficients, prototypes)


def pose(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """Boxes with key points."""
    points = _extra(block, maps, ops)
    boxes, raw = _detected(block, maps, ops, _NAMED, corners=False)
    where = ops.apply("key_points", decode.key_points, points, stride_of(block), sizes_of(maps), block.kpt_shape[1])
    return ops.concat([boxes, where]), (raw, points)


def turned(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """Boxes turned by an angle."""
    turn = ops.apply("angle", decode.angle, _extra(block, maps, ops))
    raw = raw_maps(block, maps, ops, _NAMED)
    distances, scores = distances_and_scores(block, raw, "dfl", ops)
    boxes = ops.apply("turned_boxes", decode.turned_boxes, distances, scores, turn, stride_of(block), sizes_of(raw))
    return boxes, (raw, turn)


def classify(block: Block, x: Any, ops: Ops) -> Any:
    found: Value = logits(block, x, ops)
    return ops.apply("softmax", softmax, found), found


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, 1)


def counted(module: Module) -> bool:
    return all(isinstance(module.attribute(name, None), int) for name in ("nl", "nc", "reg_max"))


def _fits(*children: str, both: bool) -> Callable[[Module], bool]:
    """`both`: whether the class may have a one-to-one branch beside the other."""

    def fits(module: Module) -> bool:
        single = module.child("one2one_cv2") is None
        branch = has_children(module, "cv2", "cv3") or (both and reads_one_to_one(module))
        return branch and has_children(module, "dfl", *children) and counted(module) and (both or single)

    return fits


def level_shapes(*lists: str) -> Callable[[Module], Shapes | None]:
    """Batch 2, one map a level, each half the one before; the lists' inputs one behind the other."""

    def shapes(module: Module) -> Shapes | None:
        found: list[tuple[int, ...]] = []
        for name in lists:
            branch = module.child(name)
            levels = [input_channels(level) for _, level in branch.children()] if branch is not None else []
            for number, taken in enumerate(levels):
                if taken is None:
                    return None
                size = 2 ** (len(levels) - 1 - number)
                found.append((2, taken[0], 2 * size, 3 * size))
        return tuple(found) or None

    return shapes


def _family(name: str, describe: Describe, fits: Callable[[Module], bool]) -> Family:
    return Family(
        f"Ultralytics {name}",
        paths("head", name),
        describe,
        fits,
        defaults=CLASS_ATTRIBUTES,
        example_shapes=level_shapes("cv2"),
        idle=("cv2", "cv3"),  # where it reads the one-to-one branch
    )


FAMILIES = (
    *described(distribution, ("conv",), "block", "DFL"),
    _family("Detect", detect, _fits(both=True)),
    _family("v10Detect", one_to_one, _fits("one2one_cv2", "one2one_cv3", both=True)),
    _family("Segment", segment, _fits("cv4", "proto", both=False)),
    _family("Pose", pose, _fits("cv4", both=False)),
    _family("OBB", turned, _fits("cv4", both=False)),
    *described(classify, ("conv", "pool", "drop", "linear"), "head", "Classify"),
)
