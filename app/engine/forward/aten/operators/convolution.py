"""Convolutions over one to three dimensions, written as functions of their own or as `convolution`."""

from collections.abc import Sequence
from typing import Any, Final

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter
from app.engine.forward.counts import check_counts
from app.engine.ir.graph import Const, Value

_PLAIN: Final = {f"conv{dims}d.default": dims for dims in (1, 2, 3)}
_PADDED: Final = {f"conv{dims}d.padding": dims for dims in (1, 2, 3)}
_TRANSPOSED: Final = {"conv_transpose1d.default": 1, "conv_transpose2d.input": 2, "conv_transpose3d.input": 3}
CONVOLUTIONS: Final = frozenset({*_PLAIN, *_PADDED, *_TRANSPOSED, "convolution.default", "_convolution.default"})


def convolution(call: Call, ops: Emitter) -> Any:
    """A convolution whose weights are constants; NotImplemented for any other."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if not _constant(x, weight, bias, ops):
        return NotImplemented
    dims = len(weight.shape) - 2
    stride, dilation = _each(call["stride"], dims), _each(call["dilation"], dims)
    if call.name in _PADDED:
        padding = _named(call["padding"], weight.shape[2:], dilation)
    else:
        padding = [(pad, pad) for pad in _each(call["padding"], dims)]
    transposed, groups = call.name in _TRANSPOSED or bool(call.get("transposed")), call["groups"]
    extra = _each(call["output_padding"], dims) if transposed else [0] * dims
    check_counts(ops.owner, call.name, groups=(groups,), stride=stride, dilation=dilation)
    if not _sound(weight, bias, (stride, dilation, [begin for begin, _ in padding], extra), groups, transposed):
        return NotImplemented
    if transposed:
        return ops.conv_transposed(
            x,
            weight,
            bias,
            stride=stride,
            padding=[begin for begin, _ in padding],
            output_padding=extra,
            dilation=dilation,
            groups=groups,
        )
    return ops.conv(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _sound(weight: Const, bias: Const | None, window: tuple[list[int], ...], groups: int, transposed: bool) -> bool:
    """Whether torch would take these numbers."""
    stride, dilation, padding, extra = window
    dims = len(weight.shape) - 2
    if any(len(part) != dims for part in window) or min(*stride, *dilation, groups, *weight.shape) < 1:
        return False
    if min(padding) < 0 or any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        return False
    out_channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return weight.shape[0] % groups == 0 and (bias is None or bias.shape == (out_channels,))


def _constant(x: Any, weight: Any, bias: Any, ops: Emitter) -> bool:
    """A batch of maps meets constant weights of one dtype."""
    parts = [part for part in (weight, bias) if part is not None]
    if not isinstance(x, Value) or not all(isinstance(part, Const) and not part.varies for part in parts):
        return False
    whole = len(x.shape) == len(weight.shape) and 3 <= len(x.shape) <= 5
    return whole and x.dtype.is_floating_point and all(ops.dtype(part) == x.dtype for part in parts)


def _each(numbers: Any, dims: int) -> list[int]:
    """A number for each dimension; one stands for all."""
    listed = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
    return listed * dims if len(listed) == 1 else listed


def _named(padding: str, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """`same`: as many maps out as in, the odd one at the end; `valid`: none."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    return [(whole // 2, whole - whole // 2) for whole in total]
