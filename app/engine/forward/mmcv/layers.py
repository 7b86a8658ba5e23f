"""What mmcv's registries build beside torch.nn's own layers: wrappers for empty batches, and activations."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.structure import maps
from app.engine.forward.torch_nn.arguments import (
    convolution_fits,
    linear_fits,
    number_fits,
    transposed_convolution_fits,
)
from app.engine.forward.torch_nn.convolution import convolution, linear, transposed_convolution
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value

_BRICKS = "mmcv.cnn.bricks"
_CONVOLUTION = {"padding_mode": "zeros", "groups": 1}


def swish(block: Block, x: Value, ops: Ops) -> Value:
    return ops.pointwise("swish", times_sigmoid, x)


def times_sigmoid(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def hard_sigmoid(block: Block, x: Value, ops: Ops) -> Value:
    """(x + bias) / divisor, between two limits."""
    numbers = (block.bias, block.divisor, block.min_value, block.max_value)
    return ops.pointwise("hard_sigmoid", limited, x, *numbers)


def limited(x: Tensor, bias: float, divisor: float, least: float, most: float) -> Tensor:
    return ((x + bias) / divisor).clamp(least, most)


def clamp(block: Block, x: Value, ops: Ops) -> Value:
    return ops.pointwise("clamp", torch.clamp, x, block.min, block.max)


def _numbers(*names: str) -> Any:
    return lambda module: all(number_fits(module, name, float("nan")) for name in names)


FAMILIES = (
    Family(
        "mmcv convolution",
        tuple(f"{_BRICKS}.wrappers.Conv{dims}d" for dims in (2, 3)),
        convolution,
        convolution_fits,
        defaults=_CONVOLUTION,
        example_shapes=maps(),
        leaf=True,
    ),
    Family(
        "mmcv transposed convolution",
        tuple(f"{_BRICKS}.wrappers.ConvTranspose{dims}d" for dims in (2, 3)),
        transposed_convolution,
        transposed_convolution_fits,
        defaults=_CONVOLUTION,
        example_shapes=maps(),
        leaf=True,
    ),
    Family("mmcv Linear", (f"{_BRICKS}.wrappers.Linear",), linear, linear_fits, example_shapes=maps(), leaf=True),
    Family("mmcv Swish", (f"{_BRICKS}.swish.Swish",), swish, leaf=True),
    Family(
        "mmcv HSigmoid",
        (f"{_BRICKS}.hsigmoid.HSigmoid",),
        hard_sigmoid,
        _numbers("bias", "divisor", "min_value", "max_value"),
        leaf=True,
    ),
    Family("mmcv Clamp", (f"{_BRICKS}.activation.Clamp",), clamp, _numbers("min", "max"), leaf=True),
)
