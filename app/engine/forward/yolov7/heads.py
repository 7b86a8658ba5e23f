"""YOLOv7's detection heads: what they compute in `.eval()`."""

from collections.abc import Callable, Sequence
from typing import Any

from app.engine.forward.family import Family, Shapes
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.forward.yolov7 import decode
from app.engine.forward.yolov7.head_forms import AUX_DETECT, DETECT_CLASS, I_DETECT, IDENTITIES
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

_FUSED_FORWARD = "fuseforward"
_CLASS_ATTRIBUTES = {"stride": None, "export": False, "end2end": False, "include_nms": False, "concat": False}


def _levels(maps: Any) -> list[Value]:
    return list(maps) if isinstance(maps, (list, tuple)) else [maps]


def _stride(block: Block) -> Const:
    stride = block.stride
    if not isinstance(stride, Const):
        raise UnknownFlow(block.module.path, "structure-differs", "the head's stride was never set")
    return stride


def implicit_add(block: Block, x: Value, ops: Ops) -> Value:
    """x + a learned vector; YOLOR, arXiv 2105.04206, section 3.3."""
    return ops.shift(x, block.implicit)


def implicit_multiply(block: Block, x: Value, ops: Ops) -> Value:
    """x * a learned vector; YOLOR, arXiv 2105.04206, section 3.3."""
    return ops.scale(x, block.implicit)


def detect(block: Block, maps: Any, ops: Ops) -> Any:
    """One 1x1 convolution a level, then boxes."""
    raw = [_anchored(block, block.m[i](x), ops) for i, x in enumerate(_levels(maps)[: block.nl])]
    return _outputs(block, raw, raw, ops)


def implicit_detect(block: Block, maps: Any, ops: Ops) -> Any:
    """A learned shift before and a learned scale after each level's convolution."""
    if block.module.forward_override == _FUSED_FORWARD:
        return detect(block, maps, ops)
    raw = [_anchored(block, _implicit(block, i, x), ops) for i, x in enumerate(_levels(maps)[: block.nl])]
    return raw if block.export else _boxes_and_raw(block, raw, raw, ops)


def auxiliary_detect(block: Block, maps: Any, ops: Ops) -> Any:
    """As IDetect: inference doesn't read what the auxiliary convolutions compute from the second half of the inputs."""
    maps = _levels(maps)
    if block.module.forward_override == _FUSED_FORWARD:
        raw = [_anchored(block, block.m[i](x), ops) for i, x in enumerate(maps[: block.nl])]
        return _outputs(block, raw, [*raw, *maps[block.nl :]], ops)
    raw = [_anchored(block, _implicit(block, i, x), ops) for i, x in enumerate(maps[: block.nl])]
    if block.export:
        return raw + [_anchored(block, block.m2[i](x), ops) for i, x in enumerate(maps[block.nl :])]
    return _boxes_and_raw(block, raw, raw, ops)


def _implicit(block: Block, level: int, x: Value) -> Any:
    return block.im[level](block.m[level](block.ia[level](x)))


def _anchored(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("anchored", decode.anchored, x, block.na, block.no)


def _decoded(block: Block, raw: Sequence[Value], ops: Ops) -> Value:
    stride = _stride(block)
    return ops.concat(
        [ops.apply("boxes", decode.boxes, level, stride, block.anchor_grid, i) for i, level in enumerate(raw)]
    )


def _boxes_and_raw(block: Block, raw: Sequence[Value], second: list[Value], ops: Ops) -> tuple[Value, list[Value]]:
    return _decoded(block, raw, ops), second


def _outputs(block: Block, raw: list[Value], second: list[Value], ops: Ops) -> Any:
    """By the class's flags: raw maps (export), boxes (end2end, concat), corners and scores (include_nms), or both."""
    if block.export:
        return second
    boxes, both = _boxes_and_raw(block, raw, second, ops)
    if block.end2end:
        return boxes
    if block.include_nms:
        corners = ops.apply("corners", decode.corners, boxes)
        return ((corners, ops.apply("weighted_scores", decode.weighted_scores, boxes)),)
    return boxes if block.concat else (boxes, both)


def keypoint(block: Block, maps: Any, ops: Ops) -> Any:
    """Boxes of IDetect, and key points from convolutions beside them.

    The published class decodes key points in place, so its second output, the raw maps, holds them decoded.
    """
    if block.nkpt != 17 or block.nc != 1 or not block.inplace:
        reason = "the published IKeypoint runs only with one class, 17 key points and `inplace`"
        raise UnknownFlow(block.module.path, "published-class-cannot-run", reason)
    raw = []
    for i, x in enumerate(_levels(maps)[: block.nl]):
        parts = _implicit(block, i, x), block.m_kpt[i](x)
        raw.append(ops.apply("anchored", decode.anchored_parts, *parts, block.na, block.no))
    if block.export:
        return raw
    stride = _stride(block)
    written = [ops.apply("keypoints", decode.keypoints_in_place, x, stride, i) for i, x in enumerate(raw)]
    decoded = [ops.apply("poses", decode.poses, x, stride, block.anchor_grid, i) for i, x in enumerate(written)]
    return ops.concat(decoded), written


def binned(block: Block, maps: Any, ops: Ops) -> Any:
    """Width and height by classification into bins and a regression within the bin."""
    raw = [_anchored(block, _implicit(block, i, x), ops) for i, x in enumerate(_levels(maps)[: block.nl])]
    if block.export:
        return raw
    width, height = block.w_bin_sigmoid, block.h_bin_sigmoid
    sides = _bins(width), _bins(height)
    stride = _stride(block)
    decoded = [
        ops.apply("binned_boxes", decode.binned_boxes, x, stride, block.anchor_grid, width.bins, height.bins, *sides, i)
        for i, x in enumerate(raw)
    ]
    return ops.concat(decoded), raw


def _bins(side: Block) -> decode.Bins:
    if side.length != 22:
        reason = "the published IBin cuts its output at fixed places and runs only with 21 bins"
        raise UnknownFlow(side.module.path, "published-class-cannot-run", reason)
    return decode.Bins(side.length, side.reg_scale, side.step, side.min, side.max)


def _fits(*children: str) -> Callable[[Module], bool]:
    """A head with these lists, and both `anchors` and `anchor_grid` as buffers (later code bases compute it)."""

    def fits(module: Module) -> bool:
        buffers = module.table("_buffers")
        return (
            has_children(module, "m", *children)
            and "anchors" in buffers
            and "anchor_grid" in buffers
            and all(isinstance(module.attribute(name, None), int) for name in ("nl", "na", "no", "nc"))
        )

    return fits


def _plain_fits(module: Module) -> bool:
    return _fits()(module) and not any(module.has(name) for name in ("ia", "im", "m2", "cv2"))


def _shapes(module: Module) -> Shapes | None:
    """Batch 2, one map a level, each half the one before; the auxiliary maps once more."""
    shapes: list[tuple[int, ...]] = []
    for name in ("m", "m2"):
        convolutions = module.child(name)
        levels = list(convolutions.children()) if convolutions is not None else []
        for i, (_, convolution) in enumerate(levels):
            taken = input_channels(convolution)
            if taken is None:
                return None
            size = 2 ** (len(levels) - 1 - i)
            shapes.append((2, taken[0], 2 * size, 3 * size))
    return tuple(shapes)


def _family(name: str, describe: Any, fits: Callable[[Module], bool], **more: Any) -> Family:
    return Family(
        f"YOLOv7 {name}",
        (f"models.yolo.{name}",),
        describe,
        fits,
        defaults=_CLASS_ATTRIBUTES,
        example_shapes=_shapes,
        idle=("anchors", "anchor_grid", "m2"),
        **more,
    )


FAMILIES = (
    *(
        Family(
            f"YOLOv7 {name}",
            (f"models.common.{name}",),
            describe,
            lambda module: module.has("implicit"),
            idle=("mean", "std"),  # of its first values
        )
        for name, describe in (("ImplicitA", implicit_add), ("ImplicitM", implicit_multiply))
    ),
    _family(DETECT_CLASS.name, detect, _plain_fits),
    _family("IDetect", implicit_detect, _fits("ia", "im"), overrides=(_FUSED_FORWARD,), deploy=I_DETECT),
    _family("IAuxDetect", auxiliary_detect, _fits("ia", "im", "m2"), overrides=(_FUSED_FORWARD,), deploy=AUX_DETECT),
    _family("IKeypoint", keypoint, _fits("ia", "im", "m_kpt"), deploy=IDENTITIES),
    _family("IBin", binned, _fits("ia", "im", "w_bin_sigmoid", "h_bin_sigmoid"), deploy=IDENTITIES),
)
