"""timm's conv-norm-act layers. The norm carries the activation: folded, only that stays in its place."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.trace import Block, Ops


def conv_norm_act(block: Block, x: Any, ops: Ops) -> Any:
    """aa(bn(conv(x))): bn acts as well; aa, a blur or pool that takes over the stride, is rare."""
    y = block.bn(block.conv(x))
    return y if block.find("aa") is None else block.aa(y)


def separable_conv_norm_act(block: Block, x: Any, ops: Ops) -> Any:
    y = block.conv_pw(block.conv_dw(x))
    return y if block.find("bn") is None else block.bn(y)


FAMILIES = (
    Family(
        "timm ConvNormAct",
        layer_paths(*(f"conv_bn_act.{name}" for name in ("ConvNormAct", "ConvBnAct", "ConvNormActAa"))),
        conv_norm_act,
        lambda module: has_children(module, "conv", "bn"),
        example_shapes=maps(),
    ),
    Family(
        "timm SeparableConvNormAct",
        layer_paths(
            *(f"separable_conv.{name}" for name in ("SeparableConvNormAct", "SeparableConvBnAct", "SeparableConv2d"))
        ),
        separable_conv_norm_act,
        lambda module: has_children(module, "conv_dw", "conv_pw"),
        example_shapes=maps(),
    ),
)
