"""timm's convolutions that are more than torch's: TensorFlow's padding, standardised weights, mixed kernels."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import maps
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.torch_nn.arguments import convolution_fits, number_fits
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module


def convolution_same(block: Block, x: Value, ops: Ops) -> Value:
    """Zeros as TensorFlow's "SAME" puts them, then a convolution without padding.

    How many zeros depends on the input's size, so they are no part of the linear map.
    """
    padded = ops.apply("same_padding", pad_same, x, block.weight.shape[2:], _pair(block.stride), _pair(block.dilation))
    return ops.conv(
        padded,
        block.weight,
        block.find("bias"),
        stride=_pair(block.stride),
        dilation=_pair(block.dilation),
        groups=block.groups,
    )


def pad_same(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
) -> Tensor:
    """Padded so that the output has ceil(size / stride) positions; the odd zero comes at the end."""
    sides: list[int] = []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
        sides = [total // 2, total - total // 2, *sides]  # F.pad lists the last dimension first
    return F.pad(x, sides, value=value)


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def mixed_convolution(block: Block, x: Value, ops: Ops) -> Value:
    """Groups of channels through kernels of several sizes, side by side; arXiv 1907.09595, figure 2."""
    return ops.concat(mixed_parts(block, x, ops))


def mixed_parts(block: Block, x: Value, ops: Ops) -> list[Value]:
    """What each of the kernels makes of its channels."""
    parts, start = [], 0
    for child, width in zip(block, block.splits, strict=True):
        parts.append(child(ops.apply("split", narrow, x, start, width)))
        start += width
    return parts


def narrow(x: Tensor, start: int, width: int) -> Tensor:
    return x.narrow(1, start, width)


def standardised_convolution(block: Block, x: Value, ops: Ops) -> Value:
    """A convolution whose weights have mean 0 and variance 1 per output channel; arXiv 1903.10520, equation 1."""
    return _convolved(block, x, ops, expression(partial(standardised, eps=block.eps), block.weight))


def scaled_convolution(block: Block, x: Value, ops: Ops) -> Value:
    """As above, times a gain per output channel and a constant; arXiv 2101.08692, equation 1."""
    weight = expression(partial(scaled, scale=block.scale, eps=block.eps), block.weight, block.gain)
    return _convolved(block, x, ops, weight)


def _convolved(block: Block, x: Value, ops: Ops, weight: Const) -> Value:
    """The convolution with this weight; padding as its layer says."""
    stride, dilation, padding = _pair(block.stride), _pair(block.dilation), _pair(block.padding)
    if block.find("same_pad"):
        x = ops.apply("same_padding", pad_same, x, weight.shape[2:], stride, dilation)
    return ops.conv(
        x,
        weight,
        block.find("bias"),
        stride=stride,
        padding=tuple((p, p) for p in padding),
        dilation=dilation,
        groups=block.groups,
    )


def standardised(weight: Tensor, eps: float) -> Tensor:
    flat = weight.flatten(1)
    variance, mean = torch.var_mean(flat, 1, correction=0, keepdim=True)
    return ((flat - mean) / (variance + eps).sqrt()).reshape(weight.shape)


def scaled(weight: Tensor, gain: Tensor, scale: float, eps: float) -> Tensor:
    return standardised(weight, eps) * (gain.reshape(-1, *(1,) * (weight.ndim - 1)) * scale)


def _standardised_fits(module: Module) -> bool:
    numbers = ("eps", "scale") if module.has("gain") else ("eps",)
    return convolution_fits(module) and all(number_fits(module, name, 0.0) for name in numbers)


def _pads_by_size(module: Module) -> bool:
    return bool(module.attribute("same_pad", False))


def _standardising(kind: str, describe: Describe) -> tuple[Family, ...]:
    """A layer that pads by its input's size is fused with nothing: its own class would standardise again."""
    paths = layer_paths(f"std_conv.{kind}", f"std_conv.{kind}Same")

    def still(module: Module) -> bool:
        return _standardised_fits(module) and not _pads_by_size(module)

    return (
        Family(f"timm {kind}", paths, describe, still, example_shapes=maps(), leaf=True),
        Family(f"timm {kind}Same", paths, describe, _standardised_fits, example_shapes=maps()),
    )


SAME = layer_paths("conv2d_same.Conv2dSame")
MIXED = layer_paths("mixed_conv2d.MixedConv2d")
FAMILIES = (
    Family(
        "timm Conv2dSame",
        SAME,
        convolution_same,
        convolution_fits,
        example_shapes=maps(),
        leaf=True,
        keeps_class=True,
    ),
    *_standardising("StdConv2d", standardised_convolution),
    *_standardising("ScaledStdConv2d", scaled_convolution),
    Family(
        "timm MixedConv2d",
        MIXED,
        mixed_convolution,
        lambda module: isinstance(module.attribute("splits", None), (list, tuple)),
        example_shapes=maps(),
    ),
)
