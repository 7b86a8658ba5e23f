"""QuantizeLinear and DequantizeLinear. They are never folded: a quantised model keeps its quantised weights."""

from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Tensors
from app.engine.forward.onnx.operators.reference import by_reference
from app.engine.ir.onnx_dtypes import torch_dtype

_NARROW: Final = frozenset({torch.uint8, torch.int8, torch.uint16, torch.int16})


def _along(part: Tensor, x: Tensor, axis: int) -> Tensor:
    """One number, or one for each element of a dimension."""
    return part.reshape(()) if part.numel() == 1 else part.reshape(-1, *(1,) * (x.ndim - axis - 1))


def _axis(call: Call) -> int:
    return call.axis(call.attribute("axis", 1), len(call.shape(0))) if len(call.shape(1)) == 1 else 0


def _blocked(call: Call) -> bool:
    return len(call.shape(1)) > 1 or bool(call.attribute("block_size", 0))


def _quantize(call: Call) -> Tensors:
    zero = call.get(2)
    named = torch_dtype(call.attribute("output_dtype", 0))
    dtype = named or torch.uint8 if zero is None else call.ops.dtype(zero)
    if dtype not in _NARROW or _blocked(call):
        return by_reference(call)
    axis, limits = _axis(call), torch.iinfo(dtype)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = torch.round(x / _along(scale, x, axis))
        moved = steps if zero is None else steps + _along(zero.to(steps.dtype), x, axis)
        return moved.clamp(limits.min, limits.max).to(dtype)

    return Tensors(run, call.inputs)


def _dequantize(call: Call) -> Tensors:
    if _blocked(call) or call.ops.dtype(call.need(0)) not in (*_NARROW, torch.int32):
        return by_reference(call)
    axis = _axis(call)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = x.to(scale.dtype)
        moved = steps if zero is None else steps - _along(zero.to(scale.dtype), x, axis)
        return moved * _along(scale, x, axis)

    return Tensors(run, call.inputs)


OPERATORS: Final[dict[str, Operator]] = {
    "DequantizeLinear": Operator(_dequantize, folds=False),
    "QuantizeLinear": Operator(_quantize, folds=False),
}
