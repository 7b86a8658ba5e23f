"""YOLOv9's blocks: RepConvN, cross-stage-partial bottlenecks around it, aggregation, and the auxiliary branch's joints.

What it shares with YOLOv7 and YOLOv5 under the same paths is described there.
"""

from collections.abc import Callable
from typing import Any

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.conv import REP_CONV, rep_conv, rep_conv_fits
from app.engine.forward.ultralytics.elan import average_conv, average_down, branch_in, branch_out, elan, spp_elan
from app.engine.forward.ultralytics.heads import distribution
from app.engine.forward.yolov7.csp import bottleneck, csp_a, res
from app.engine.ir.module import Module


def silence(block: Block, x: Any, ops: Ops) -> Any:
    """Nothing: it gives the image a number that other layers can read."""
    return x


def transposed(block: Block, x: Any, ops: Ops) -> Any:
    return block.act(block.bn(block.conv_transpose(x)))


def _has(*children: str) -> Callable[[Module], bool]:
    return lambda module: has_children(module, *children)


def _families(describe: Describe, children: tuple[str, ...], *names: str, **more: Any) -> tuple[Family, ...]:
    return tuple(
        Family(f"YOLOv9 {name}", (f"models.common.{name}",), describe, _has(*children), example_shapes=maps(), **more)
        for name in names
    )


FAMILIES = (
    Family(
        "YOLOv9 RepConvN",
        ("models.common.RepConvN",),
        rep_conv,
        rep_conv_fits,
        overrides=("forward_fuse",),
        deploy=REP_CONV,
        example_shapes=maps(),
    ),
    Family(
        "YOLOv9 Silence",
        ("models.common.Silence",),
        silence,
        lambda module: not any(module.tensors()) and not any(module.children()),
    ),
    *_families(
        bottleneck,
        ("cv1", "cv2"),
        *("RepNBottleneck", "BottleneckBase", "RBottleneckBase", "RepNRBottleneckBase", "RepNLBottleneckBase"),
    ),
    *_families(res, ("cv1", "cv2", "cv3"), "RepNRes"),
    *_families(csp_a, ("cv1", "cv2", "cv3", "m"), "CSP", "RepNCSP", "CSPBase"),
    *_families(elan, ("cv1", "cv2", "cv3", "cv4"), "RepNCSPELAN4", "ELAN1", overrides=("forward_split",)),
    *_families(average_conv, ("cv1",), "AConv"),
    *_families(average_down, ("cv1", "cv2"), "ADown"),
    *_families(spp_elan, ("cv1", "cv2", "cv3", "cv4", "cv5"), "SPPELAN"),
    *_families(branch_out, ("conv",), "CBLinear"),
    Family("YOLOv9 CBFuse", ("models.common.CBFuse",), branch_in, lambda module: module.has("idx")),
    *_families(transposed, ("conv_transpose", "bn", "act"), "ConvTranspose"),
    *_families(distribution, ("conv",), "DFL"),
)
