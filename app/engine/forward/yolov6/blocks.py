"""YOLOv6's stages and fusions: RepBlock, BottleRep, CSPStackRep, BiC, and its spatial pyramids."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov6.conv import COMMON, wrapper
from app.engine.forward.yolov7.csp import csp_a, sppf
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module


def rep_block(block: Block, x: Value, ops: Ops) -> Any:
    """Blocks one after the other; arXiv 2209.02976, figure 3 (a, b)."""
    y = block.conv1(x)
    return y if block.block is None else block.block(y)


def _bottleneck(*names: str) -> Describe:
    def describe(block: Block, x: Value, ops: Ops) -> Value:
        """A chain of blocks with a shortcut that may have a learned factor; arXiv 2209.02976, figure 3 (c)."""
        y: Value = x
        for name in names:
            y = getattr(block, name)(y)
        return ops.add(y, _weighed(block.alpha, x, ops)) if block.shortcut else y

    return describe


def _weighed(alpha: Any, x: Value, ops: Ops) -> Value:
    if isinstance(alpha, Const):
        return ops.scale(x, alpha)
    return x if alpha == 1 else ops.pointwise("times", torch.mul, x, alpha)


def aggregation(block: Block, x: Value, ops: Ops) -> Any:
    """Branches of growing depth, each of whose blocks' outputs are joined; arXiv 2301.05586, section 2.1."""
    first, *others = ops.apply_many("split", split, block.cv1(x), tuple(block.split_num))
    maps_ = [first]
    for part, branch in zip(others, block.m, strict=True):
        maps_.append(part)
        for inner in branch:
            maps_.append(inner(maps_[-1]))
    return block.cv2(ops.concat(maps_))


def split(x: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.split(x, list(sizes), 1)


def bidirectional(block: Block, sources: Sequence[Value], ops: Ops) -> Any:
    """Three neighbouring levels joined at the middle one's size; arXiv 2301.05586, figure 2 (b)."""
    small, middle, large = sources
    parts = [block.upsample(small), block.cv1(middle), block.downsample(block.cv2(large))]
    return block.cv3(ops.concat(parts))


def csp_sppf(block: Block, x: Value, ops: Ops) -> Any:
    """The same max pool one, two and three times, in one of two paths; arXiv 2301.05586, figure 2 (c)."""
    scales = [block.cv4(block.cv3(block.cv1(x)))]
    for _ in range(3):
        scales.append(block.m(scales[-1]))
    pooled = block.cv6(block.cv5(ops.concat(scales)))
    return block.cv7(ops.concat([block.cv2(x), pooled]))


def _has(*children: str) -> Callable[[Module], bool]:
    return lambda module: has_children(module, *children)


_MAPS = maps()


def _family(name: str, describe: Describe, fits: Callable[[Module], bool], shapes: Any = _MAPS) -> Family:
    return Family(f"YOLOv6 {name}", (f"{COMMON}.{name}",), describe, fits, example_shapes=shapes)


def _bottle_fits(*children: str) -> Callable[[Module], bool]:
    return lambda module: has_children(module, *children) and module.has("alpha") and module.has("shortcut")


def _splits(module: Module) -> bool:
    return has_children(module, "cv1", "cv2", "m") and module.has("split_num")


def _joins(module: Module) -> bool:
    """Its first version could leave out one of its two paths."""
    return has_children(module, "cv1", "cv2", "cv3", "m") and module.attribute("concat", True) is True


FAMILIES = (
    _family("RepBlock", rep_block, lambda module: has_children(module, "conv1") and module.has("block")),
    _family("BottleRep", _bottleneck("conv1", "conv2"), _bottle_fits("conv1", "conv2")),
    _family("BottleRep3", _bottleneck("conv1", "conv2", "conv3"), _bottle_fits("conv1", "conv2", "conv3")),
    _family("BepC3", csp_a, _joins),
    _family("MBLABlock", aggregation, _splits),
    _family("BiFusion", bidirectional, _has("cv1", "cv2", "cv3", "upsample", "downsample"), lambda module: None),
    _family("SPPFModule", sppf, _has("cv1", "cv2", "m")),
    *(_family(name, sppf, _has("cv1", "cv2", "m")) for name in ("SPPF", "SimSPPF")),  # of the first versions
    _family("CSPSPPFModule", csp_sppf, _has("cv1", "cv2", "cv3", "cv4", "cv5", "cv6", "cv7", "m")),
    *wrapper("sppf", "SPPF", "SimSPPF"),
    *wrapper("cspsppf", "CSPSPPF", "SimCSPSPPF"),
)
