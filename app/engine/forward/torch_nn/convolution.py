"""torch.nn convolutions and Linear."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.structure import maps
from app.engine.forward.torch_nn.arguments import convolution_fits, linear_fits, transposed_convolution_fits
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Const, Value


def convolution(block: Block, x: Value, ops: Ops) -> Value:
    """torch.nn.Conv1d, Conv2d, Conv3d."""
    return convolution_with(block, x, ops, block.weight, block.find("bias"))


def convolution_with(block: Block, x: Value, ops: Ops, weight: Const, bias: Const | None) -> Value:
    """A convolution of the layer's geometry, with these numbers."""
    kernel = weight.shape[2:]
    dilation = _spread(block.dilation, len(kernel))
    return ops.conv(
        x,
        weight,
        bias,
        stride=_spread(block.stride, len(kernel)),
        padding=_padding(block, kernel, dilation),
        dilation=dilation,
        groups=block.groups,
        padding_mode=block.padding_mode,
    )


def transposed_convolution(block: Block, x: Value, ops: Ops) -> Value:
    """torch.nn.ConvTranspose1d, ConvTranspose2d, ConvTranspose3d."""
    dims = len(block.weight.shape) - 2
    return ops.conv_transposed(
        x,
        block.weight,
        block.find("bias"),
        stride=_spread(block.stride, dims),
        padding=_spread(block.padding, dims),
        output_padding=_spread(block.output_padding, dims),
        dilation=_spread(block.dilation, dims),
        groups=block.groups,
    )


def linear(block: Block, x: Value, ops: Ops) -> Value:
    return ops.linear(x, block.weight, block.find("bias"))


def _spread(value: Any, dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


def _padding(block: Block, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(begin, end) per dimension; "same" puts the odd one at the end, as torch does.

    In another mode than zeros torch pads by what its constructor has worked out, whatever `padding` says since.
    """
    sides = block.find("_reversed_padding_repeated_twice")
    if block.padding_mode != "zeros" and isinstance(sides, (list, tuple)):
        return tuple(zip(sides[::2], sides[1::2], strict=False))[::-1]
    padding = block.padding
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise UnknownFlow(block.module.path, "structure-differs", f"padding is {padding!r}")
    return tuple((p, p) for p in _spread(padding, len(kernel)))


_DEFAULTS = {"padding_mode": "zeros", "groups": 1}

FAMILIES = (
    Family(
        "torch.nn convolution",
        tuple(f"torch.nn.modules.conv.Conv{dims}d" for dims in (1, 2, 3)),
        convolution,
        fits=convolution_fits,
        defaults=_DEFAULTS,
        example_shapes=maps(),
        leaf=True,
    ),
    Family(
        "torch.nn transposed convolution",
        tuple(f"torch.nn.modules.conv.ConvTranspose{dims}d" for dims in (1, 2, 3)),
        transposed_convolution,
        fits=transposed_convolution_fits,
        defaults=_DEFAULTS,
        example_shapes=maps(),
        leaf=True,
    ),
    Family(
        "torch.nn Linear",
        (
            "torch.nn.modules.linear.Linear",
            "torch.nn.modules.linear.NonDynamicallyQuantizableLinear",
            "torch.nn.modules.linear._LinearWithBias",
        ),
        linear,
        fits=linear_fits,
        example_shapes=maps(),
        leaf=True,
    ),
)
