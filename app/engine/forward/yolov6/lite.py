"""YOLOv6Lite's blocks: inverted residuals with a squeezed gate, depthwise-pointwise pairs, and CSP stages of these."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Shapes
from app.engine.forward.steps import in_steps, sequence
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov6.conv import COMMON
from app.engine.forward.yolov7.plain import half_of
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_PAIR = ("conv_dw_1", "bn_1", "act_1", "conv_pw_1", "bn_2", "act_2")


def squeeze(block: Block, x: Value, ops: Ops) -> Value:
    """x * hardsigmoid(conv2(relu(conv1(pool(x))))); arXiv 1709.01507, figure 3, with another gate."""
    gate = in_steps("avg_pool", "conv1", "relu", "conv2", "hardsigmoid")(block, x, ops)
    return ops.apply("mul", torch.mul, x, gate)


def halved(block: Block, x: Value, ops: Ops) -> Value:
    """One half of the channels passes, the other one is convolved; ShuffleNetV2, arXiv 1807.11164, figure 3 (c)."""
    passed, worked = (half_of(ops, x, which, 1) for which in (0, 1))
    worked = in_steps("conv_pw_1", "conv_dw_1", "se", "conv_1")(block, worked, ops)
    return ops.apply("shuffle", shuffled, ops.concat([passed, worked]))


def shuffled(x: Tensor) -> Tensor:
    """The channels of both halves in turn."""
    return torch.unflatten(x, 1, (2, -1)).transpose(1, 2).flatten(1, 2)


def downsampled(block: Block, x: Value, ops: Ops) -> Any:
    """Two strided branches side by side, mixed by a depthwise and a 1x1 convolution; figure 3 (d), and a mix."""
    parts = [
        in_steps("conv_dw_1", "conv_1")(block, x, ops),
        in_steps("conv_pw_2", "conv_dw_2", "se", "conv_2")(block, x, ops),
    ]
    return in_steps("conv_dw_3", "conv_pw_3")(block, ops.concat(parts), ops)


def csp(block: Block, x: Value, ops: Ops) -> Any:
    """Two paths, one of them through a block; arXiv 1911.11929."""
    return block.conv_3(ops.concat([block.blocks(block.conv_1(x)), block.conv_2(x)]))


def _twice_as_wide(module: Module) -> Shapes | None:
    """The block's first convolution takes half of its channels."""
    return tuple((batch, 2 * channels, *sizes) for batch, channels, *sizes in maps()(module) or ()) or None


def _path(name: str) -> tuple[str, ...]:
    return (f"{COMMON}.{name}",)


def _family(name: str, describe: Any, *children: str, shapes: Any = None) -> Family:
    return Family(
        f"YOLOv6 {name}",
        _path(name),
        describe,
        lambda module: has_children(module, *children),
        example_shapes=shapes or maps(),
    )


FAMILIES = (
    _family("SEBlock", squeeze, "avg_pool", "conv1", "relu", "conv2", "hardsigmoid"),
    _family(
        "Lite_EffiBlockS1",
        halved,
        *("conv_pw_1", "conv_dw_1", "se", "conv_1"),
        shapes=_twice_as_wide,
    ),
    _family(
        "Lite_EffiBlockS2",
        downsampled,
        *("conv_dw_1", "conv_1", "conv_pw_2", "conv_dw_2", "se", "conv_2", "conv_dw_3", "conv_pw_3"),
    ),
    sequence("YOLOv6 DPBlock", _path("DPBlock"), *_PAIR),
    sequence("YOLOv6 DarknetBlock", _path("DarknetBlock"), "conv_1", "conv_2"),
    _family("CSPBlock", csp, "conv_1", "conv_2", "conv_3", "blocks"),
)
