"""timm's channel attention: squeeze-and-excitation (arXiv 1709.01507, figure 3) and its effective form."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def squeeze_excite(block: Block, x: Value, ops: Ops) -> Value:
    """x times a gate that two 1x1 convolutions make of its mean; the norm between them is rare."""
    squeezed = block.fc1(_squeezed(block, x, ops))
    if block.find("bn") is not None:
        squeezed = block.bn(squeezed)
    return gated(ops, x, block.gate(block.fc2(block.act(squeezed))))


def effective_squeeze_excite(block: Block, x: Value, ops: Ops) -> Value:
    """One convolution instead of two; arXiv 1911.06667, section 3.3."""
    return gated(ops, x, block.gate(block.fc(_squeezed(block, x, ops))))


def efficientnet_squeeze_excite(block: Block, x: Value, ops: Ops) -> Value:
    """The same as squeeze-and-excitation under the names of EfficientNet's code."""
    return gated(ops, x, block.gate(block.conv_expand(block.act1(block.conv_reduce(averaged(ops, x))))))


def _squeezed(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("mean_and_max", mean_and_max, x) if block.find("add_maxpool") else averaged(ops, x)


def averaged(ops: Ops, x: Value) -> Value:
    return ops.apply("mean", mean, x)


def gated(ops: Ops, x: Value, gate: Any) -> Value:
    return ops.pointwise("multiply", torch.mul, x, gate)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def mean_and_max(x: Tensor) -> Tensor:
    return 0.5 * mean(x) + 0.5 * x.amax((2, 3), keepdim=True)


FAMILIES = (
    Family(
        "timm squeeze-and-excitation",
        layer_paths("squeeze_excite.SEModule"),
        squeeze_excite,
        lambda module: has_children(module, "fc1", "act", "fc2", "gate"),
    ),
    Family(
        "timm effective squeeze-and-excitation",
        layer_paths("squeeze_excite.EffectiveSEModule"),
        effective_squeeze_excite,
        lambda module: has_children(module, "fc", "gate"),
    ),
    Family(
        "timm EfficientNet squeeze-and-excitation",
        tuple(f"timm.models.{file}.SqueezeExcite" for file in ("_efficientnet_blocks", "efficientnet_blocks")),
        efficientnet_squeeze_excite,
        lambda module: has_children(module, "conv_reduce", "act1", "conv_expand", "gate"),
    ),
)
