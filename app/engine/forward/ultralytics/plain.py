"""Ultralytics' blocks that join, weight and pool maps, and the stems and blocks of its ResNet and HGNet backbones."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.naming import described, paths
from app.engine.forward.yolov5.blocks import prototypes
from app.engine.forward.yolov7.plain import concat
from app.engine.ir.graph import Value


def light_conv(block: Block, x: Value, ops: Ops) -> Any:
    """A 1x1 convolution, then a depthwise one."""
    return block.conv2(block.conv1(x))


def index(block: Block, maps: Sequence[Value], ops: Ops) -> Any:
    return maps[block.index]


def channel_attention(block: Block, x: Value, ops: Ops) -> Value:
    """x * act(fc(pool(x))); CBAM, arXiv 1807.06521, figure 2."""
    return ops.apply("multiply", torch.mul, x, block.act(block.fc(block.pool(x))))


def spatial_attention(block: Block, x: Value, ops: Ops) -> Value:
    """x * act(cv1(mean and maximum over channels)); CBAM, arXiv 1807.06521, figure 2."""
    return ops.apply("multiply", torch.mul, x, block.act(block.cv1(ops.apply("mean_and_max", mean_and_max, x))))


def mean_and_max(x: Tensor) -> Tensor:
    return torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)


def cbam(block: Block, x: Value, ops: Ops) -> Any:
    return block.spatial_attention(block.channel_attention(x))


def hg_stem(block: Block, x: Value, ops: Ops) -> Any:
    """HGNet's stem: two 2x2 convolutions beside a pool, each map padded by one row and column at the end."""
    x = _padded(block.stem1(x), ops)
    convolved = block.stem2b(_padded(block.stem2a(x), ops))
    return block.stem4(block.stem3(ops.concat([block.pool(x), convolved])))


def _padded(x: Value, ops: Ops) -> Value:
    return ops.apply("pad", F.pad, x, (0, 1, 0, 1))


def hg_block(block: Block, x: Value, ops: Ops) -> Any:
    """All intermediate maps joined, then squeezed and excited by two 1x1 convolutions."""
    maps = [x]
    for layer in block.m:
        maps.append(layer(maps[-1]))
    y = block.ec(block.sc(ops.concat(maps)))
    return ops.add(y, x) if block.add else y


def residual_block(block: Block, x: Value, ops: Ops) -> Value:
    """A bottleneck of a ResNet; arXiv 1512.03385, figure 5."""
    y = ops.add(block.cv3(block.cv2(block.cv1(x))), block.shortcut(x))
    return ops.pointwise("relu", F.relu, y)


def residual_layer(block: Block, x: Value, ops: Ops) -> Any:
    return block.layer(x)


FAMILIES = (
    *described(light_conv, ("conv1", "conv2"), "conv", "LightConv"),
    Family("Ultralytics Concat", paths("conv", "Concat"), concat, lambda module: module.has("d")),
    Family("Ultralytics Index", paths("conv", "Index"), index, lambda module: module.has("index")),
    *described(channel_attention, ("pool", "fc", "act"), "conv", "ChannelAttention"),
    *described(spatial_attention, ("cv1", "act"), "conv", "SpatialAttention"),
    *described(cbam, ("channel_attention", "spatial_attention"), "conv", "CBAM"),
    *described(prototypes, ("cv1", "upsample", "cv2", "cv3"), "block", "Proto"),
    *described(hg_stem, ("stem1", "stem2a", "stem2b", "stem3", "stem4", "pool"), "block", "HGStem"),
    *described(hg_block, ("m", "sc", "ec"), "block", "HGBlock"),
    *described(residual_block, ("cv1", "cv2", "cv3", "shortcut"), "block", "ResNetBlock"),
    *described(residual_layer, ("layer",), "block", "ResNetLayer"),
)
