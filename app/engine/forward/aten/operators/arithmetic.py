"""Sums, differences, products and quotients: of two values, or of a value and a constant along one dimension."""

from collections.abc import Callable
from typing import Any, Final

import torch

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter
from app.engine.ir.graph import Const, Value

ARITHMETIC: Final = frozenset(
    {
        *("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "rsub.Tensor", "rsub.Scalar", "neg.default"),
        *("mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar", "true_divide.Tensor", "true_divide.Scalar"),
    }
)


def arithmetic(call: Call, ops: Emitter) -> Any:
    """A factor or an offset along a dimension, or a sum; NotImplemented for all else."""
    operator = call.name.partition(".")[0]
    x = call["self"]
    if operator == "neg":
        return _times(x, -1.0, call, ops)
    y = call["other"]
    if operator == "mul":
        return _times(x, y, call, ops) if isinstance(x, Value) else _times(y, x, call, ops)
    if operator in ("div", "true_divide"):
        return _times(x, y, call, ops, torch.reciprocal)
    alpha = call.get("alpha", 1)
    if operator == "add":
        return _sum(x, y, alpha, call, ops)
    return _difference(x, y, alpha, call, ops) if operator == "sub" else _difference(y, x, alpha, call, ops)


def _sum(x: Any, y: Any, alpha: float, call: Call, ops: Emitter) -> Any:
    """x + alpha * y"""
    if isinstance(x, Value) and isinstance(y, Value):
        return _of_two(x, y, alpha, call, ops)
    if isinstance(x, Value):
        return _plus(x, y, alpha, call, ops)
    scaled = y if alpha == 1 else _times(y, float(alpha), call, ops)
    return NotImplemented if scaled is NotImplemented else _plus(scaled, x, 1, call, ops)


def _difference(x: Any, y: Any, alpha: float, call: Call, ops: Emitter) -> Any:
    """x - alpha * y"""
    if isinstance(x, Value) and isinstance(y, Value):
        return _of_two(x, y, -alpha, call, ops)
    if isinstance(x, Value):
        return _plus(x, y, -alpha, call, ops)
    scaled = _times(y, float(-alpha), call, ops)
    return NotImplemented if scaled is NotImplemented else _plus(scaled, x, 1, call, ops)


def _of_two(x: Value, y: Value, alpha: float, call: Call, ops: Emitter) -> Any:
    if x.shape != y.shape or x.dtype != y.dtype or not x.dtype.is_floating_point:
        return NotImplemented
    other = y if alpha == 1 else _times(y, float(alpha), call, ops)
    return NotImplemented if other is NotImplemented else ops.add(x, other)


def _times(
    x: Any, factor: Any, call: Call, ops: Emitter, function: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Any:
    found = _constant(x, factor, call, ops)
    if found is None:
        return NotImplemented
    part, axis = found
    return ops.scale(x, part if function is None else _folded(function, part, ops), axis)


def _plus(x: Any, offset: Any, alpha: float, call: Call, ops: Emitter) -> Any:
    found = _constant(x, offset, call, ops)
    if found is None:
        return NotImplemented
    part, axis = found
    return ops.shift(x, part if alpha == 1 else _folded(lambda p: p * alpha, part, ops), axis)


def _folded(function: Callable[[torch.Tensor], torch.Tensor], part: Const, ops: Emitter) -> Const:
    found: Const = ops.constants.fold(function, (part,), ops.owner)[0]
    return found


def _constant(x: Any, part: Any, call: Call, ops: Emitter) -> tuple[Const, int] | None:
    """The constant and the one dimension of `x` that it varies along, if the result is of the shape and dtype of x."""
    if not isinstance(x, Value) or not x.shape or not x.dtype.is_floating_point:
        return None
    if isinstance(part, (int, float)) and not isinstance(part, bool):
        return ops.constants.scalar(part, call.varies), min(1, len(x.shape) - 1)
    if not isinstance(part, Const) or not _keeps_dtype(x, part, ops):
        return None
    axis = _axis(part.shape, x.shape)
    return None if axis is None else (part, axis)


def _keeps_dtype(x: Value, part: Const, ops: Emitter) -> bool:
    dtype = ops.dtype(part)
    if not dtype.is_floating_point:
        return False
    return not part.shape or torch.promote_types(x.dtype, dtype) == x.dtype


def _axis(part: tuple[int, ...], whole: tuple[int, ...]) -> int | None:
    """The dimension along which a constant of shape `part` varies within `whole`; None where it isn't exactly one."""
    if len(part) > len(whole):
        return None
    aligned = (1,) * (len(whole) - len(part)) + part
    along = [axis for axis, size in enumerate(aligned) if size != 1]
    if any(aligned[axis] != whole[axis] for axis in along) or len(along) > 1:
        return None
    return along[0] if along else min(1, len(whole) - 1)
