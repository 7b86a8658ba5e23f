"""YOLOv9's heads: anchor-free, with one branch (Detect), or with auxiliary ones before it (Dual, Triple)."""

from collections.abc import Callable, Sequence
from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.heads import CLASS_ATTRIBUTES, boxes_of, counted, level_shapes, raw_maps
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

# How many branches a head has. Each has its own levels, boxes and classes; inference reads the last branch alone.
BRANCHES = {
    "models.yolo.Detect": 1,
    "models.yolo.DDetect": 1,
    "models.yolo.DualDetect": 2,
    "models.yolo.DualDDetect": 2,
    "models.yolo.TripleDetect": 3,
    "models.yolo.TripleDDetect": 3,
}


def lists_of(branch: int) -> tuple[str, str]:
    """What a branch's lists of box and class convolutions are called: cv2 and cv3, then cv4 and cv5 ..."""
    return f"cv{2 * branch + 2}", f"cv{2 * branch + 3}"


def expectation_of(branch: int) -> str:
    return f"dfl{branch + 1}" if branch else "dfl"


def detect(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    return _branch(block, maps, ops, 0)


def branched(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    """What each branch makes of its own levels, the auxiliary branches first."""
    count = len(maps) // block.nl
    found = [_branch(block, maps[block.nl * number :][: block.nl], ops, number) for number in range(count)]
    return [boxes for boxes, _ in found], [raw for _, raw in found]


def _branch(block: Block, maps: Sequence[Value], ops: Ops, number: int) -> tuple[Value, list[Value]]:
    raw = raw_maps(block, maps, ops, lists_of(number))
    return boxes_of(block, raw, ops, expectation_of(number)), raw


def _fits(count: int) -> Callable[[Module], bool]:
    names = [name for number in range(count) for name in (*lists_of(number), expectation_of(number))]
    return lambda module: has_children(module, *names) and counted(module)


FAMILIES = tuple(
    Family(
        f"YOLOv9 {path.rpartition('.')[2]}",
        (path,),
        detect if count == 1 else branched,
        _fits(count),
        defaults=CLASS_ATTRIBUTES,
        example_shapes=level_shapes(*(lists_of(number)[0] for number in range(count))),
    )
    for path, count in BRANCHES.items()
)
