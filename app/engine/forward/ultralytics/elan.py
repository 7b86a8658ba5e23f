"""YOLOv9's blocks (arXiv 2402.13616), as its own code and Ultralytics' package have them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.csp import halves
from app.engine.forward.ultralytics.naming import described, paths
from app.engine.ir.graph import Value


def elan(block: Block, x: Value, ops: Ops) -> Any:
    """Generalised efficient layer aggregation: figure 4 (c) of the paper."""
    maps = halves(block.cv1(x), ops)
    for stage in (block.cv2, block.cv3):
        maps.append(stage(maps[-1]))
    return block.cv4(ops.concat(maps))


def averaged(x: Value, ops: Ops) -> Value:
    return ops.avg_pool(x, (2, 2), (1, 1), (0, 0))


def average_conv(block: Block, x: Value, ops: Ops) -> Any:
    """A 2x2 average, then a strided convolution."""
    return block.cv1(averaged(x, ops))


def average_down(block: Block, x: Value, ops: Ops) -> Value:
    """A 2x2 average; one half of its channels strided by a convolution, the other by a max pool."""
    convolved, pooled = halves(averaged(x, ops), ops)
    return ops.concat([block.cv1(convolved), block.cv2(ops.apply("max_pool", F.max_pool2d, pooled, 3, 2, 1))])


def spp_elan(block: Block, x: Value, ops: Ops) -> Any:
    maps = [block.cv1(x)]
    for pool in (block.cv2, block.cv3, block.cv4):
        maps.append(pool(maps[-1]))
    return block.cv5(ops.concat(maps))


def branch_out(block: Block, x: Value, ops: Ops) -> list[Value]:
    """One convolution, its channels split for the levels of the auxiliary branch."""
    return ops.apply_many("split", torch.split, block.conv(x), list(block.c2s), 1)


def branch_in(block: Block, sources: Sequence[Any], ops: Ops) -> Value:
    """The last map plus one map of each other source, resized to it."""
    total: Value | None = None
    for source, which in zip(sources[:-1], block.idx, strict=False):
        resized = ops.apply("resize", resized_to, source[which], sources[-1].shape[2:])
        total = resized if total is None else ops.add(total, resized)
    return sources[-1] if total is None else ops.add(total, sources[-1])


def resized_to(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="nearest")


FAMILIES = (
    *described(elan, ("cv1", "cv2", "cv3", "cv4"), "block", "RepNCSPELAN4", "ELAN1", overrides=("forward_split",)),
    *described(average_conv, ("cv1",), "block", "AConv"),
    *described(average_down, ("cv1", "cv2"), "block", "ADown"),
    *described(spp_elan, ("cv1", "cv2", "cv3", "cv4", "cv5"), "block", "SPPELAN"),
    *described(branch_out, ("conv",), "block", "CBLinear"),
    Family("Ultralytics CBFuse", paths("block", "CBFuse"), branch_in, lambda module: module.has("idx")),
)
