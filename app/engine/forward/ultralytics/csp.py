"""Ultralytics' bottlenecks, cross-stage-partial blocks (C1 to C3k2) and spatial pyramids."""

from typing import Any

from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.naming import described
from app.engine.forward.yolov5.bottleneck_csp import CHILDREN, DEPLOY, bottleneck_csp
from app.engine.forward.yolov7.conv import ghost
from app.engine.forward.yolov7.csp import bottleneck, csp_a, spp
from app.engine.forward.yolov7.plain import half_of
from app.engine.ir.graph import Value

_MOST_POOLS = 64  # no release has more than three
_SPLIT = ("forward_split",)  # computes the same: `split` for `chunk`


def halves(x: Value, ops: Ops) -> list[Value]:
    return [half_of(ops, x, which, 1) for which in (0, 1)]


def c1(block: Block, x: Value, ops: Ops) -> Value:
    y = block.cv1(x)
    return ops.add(block.m(y), y)


def c2(block: Block, x: Value, ops: Ops) -> Any:
    """One half through the inner blocks, the other past them."""
    deep, past = halves(block.cv1(x), ops)
    return block.cv2(ops.concat([block.m(deep), past]))


def c2f(block: Block, x: Value, ops: Ops) -> Any:
    """As C2, with the outputs of all inner blocks joined."""
    maps = halves(block.cv1(x), ops)
    for inner in block.m:
        maps.append(inner(maps[-1]))
    return block.cv2(ops.concat(maps))


def c3f(block: Block, x: Value, ops: Ops) -> Any:
    """As C2f, with a convolution for each half."""
    maps = [block.cv2(x), block.cv1(x)]
    for inner in block.m:
        maps.append(inner(maps[-1]))
    return block.cv3(ops.concat(maps))


def rep_c3(block: Block, x: Value, ops: Ops) -> Any:
    """The sum of two paths; RT-DETR, arXiv 2304.08069, figure 4."""
    return block.cv3(ops.add(block.m(block.cv1(x)), block.cv2(x)))


def sppf(block: Block, x: Value, ops: Ops) -> Any:
    """The same max pool several times; later releases may add the input."""
    scales = [block.cv1(x)]
    for _ in range(min(block.n, _MOST_POOLS)):
        scales.append(block.m(scales[-1]))
    y = block.cv2(ops.concat(scales))
    return ops.add(y, x) if block.add else y


def chain(block: Block, x: Value, ops: Ops) -> Any:
    """One path with a shortcut where the widths allow it: YOLOv10's compact inverted block."""
    y = block.cv1(x)
    return ops.add(x, y) if block.add else y


def separate_down(block: Block, x: Value, ops: Ops) -> Any:
    """Channels by a 1x1 convolution, then size by a depthwise one; YOLOv10, arXiv 2405.14458, section 3.3."""
    return block.cv2(block.cv1(x))


FAMILIES = (
    *described(bottleneck, ("cv1", "cv2"), "block", "Bottleneck", "RepBottleneck"),
    *described(bottleneck_csp, CHILDREN, "block", "BottleneckCSP", deploy=DEPLOY),
    *described(ghost, ("conv", "shortcut"), "block", "GhostBottleneck", multiple=2),
    *described(c1, ("cv1", "m"), "block", "C1"),
    *described(c2, ("cv1", "cv2", "m"), "block", "C2"),
    *described(c2f, ("cv1", "cv2", "m"), "block", "C2f", "C3k2", "C2fCIB", "C2fPSA", overrides=_SPLIT),
    *described(csp_a, ("cv1", "cv2", "cv3", "m"), "block", "C3", "C3x", "C3TR", "C3Ghost", "C3k", "RepCSP"),
    *described(c3f, ("cv1", "cv2", "cv3", "m"), "block", "C3f"),
    *described(rep_c3, ("cv1", "cv2", "cv3", "m"), "block", "RepC3"),
    *described(spp, ("cv1", "cv2", "m"), "block", "SPP"),
    *described(sppf, ("cv1", "cv2", "m"), "block", "SPPF", defaults={"n": 3, "add": False}),
    *described(chain, ("cv1",), "block", "CIB"),
    *described(separate_down, ("cv1", "cv2"), "block", "SCDown"),
)
