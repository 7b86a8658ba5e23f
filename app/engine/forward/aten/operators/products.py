"""Products with a constant matrix: `linear`, and what it decomposes into."""

from typing import Any, Final

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter
from app.engine.forward.aten.rows import Rows
from app.engine.ir.graph import Const, Value

PRODUCTS: Final = frozenset(
    {"linear.default", "addmm.default", "mm.default", "matmul.default", "linalg_matmul.default"}
)
_MATRIX: Final = 2


def product(call: Call, ops: Emitter) -> Any:
    """x @ W (+ b) over the last dimension; NotImplemented where W is no constant matrix on the right."""
    if call.name == "linear.default":
        return _linear(call["input"], call["weight"], call["bias"], ops)
    if call.name == "addmm.default":
        return _addmm(call, ops)
    x, right = (call["self"], call["mat2"]) if "mat2" in call else (call["self"], call["other"])
    return NotImplemented if not isinstance(right, Const) else _rows(call, x, _transposed(right, ops), None, ops)


def _addmm(call: Call, ops: Emitter) -> Any:
    """beta * b + alpha * (x @ W); the factors are taken into the constants."""
    bias, right = call["self"], call["mat2"]
    if not isinstance(bias, Const) or not isinstance(right, Const) or len(right.shape) != _MATRIX:
        return NotImplemented
    features = right.shape[1]
    if bias.shape not in ((features,), (1, features)):
        return NotImplemented
    weight = _scaled(_transposed(right, ops), call["alpha"], ops)
    flat = bias if len(bias.shape) == 1 else _folded(lambda b: b.reshape(-1), bias, ops)
    return _rows(call, call["mat1"], weight, _scaled(flat, call["beta"], ops), ops)


def _rows(call: Call, x: Any, weight: Any, bias: Any, ops: Emitter) -> Any:
    """The product; where the rows of `x` had more dimensions before and have them again afterwards, of the whole."""
    whole = ops.whole(x) if call.place.restored and isinstance(x, Value) else None
    if whole is None:
        return _linear(x, weight, bias, ops)
    found = _linear(whole, weight, bias, ops)
    return found if found is NotImplemented else Rows(found)


def _linear(x: Any, weight: Any, bias: Any, ops: Emitter) -> Any:
    parts = [part for part in (weight, bias) if part is not None]
    if not isinstance(x, Value) or not x.shape or not x.dtype.is_floating_point:
        return NotImplemented
    if not all(isinstance(part, Const) and not part.varies and ops.dtype(part) == x.dtype for part in parts):
        return NotImplemented
    if len(weight.shape) != _MATRIX or (bias is not None and bias.shape != weight.shape[:1]):
        return NotImplemented
    return ops.linear(x, weight, bias)


def _transposed(matrix: Const, ops: Emitter) -> Const:
    return _folded(lambda m: m.t(), matrix, ops) if len(matrix.shape) == _MATRIX else matrix


def _scaled(part: Const, factor: float, ops: Emitter) -> Const:
    return part if factor == 1 else _folded(lambda p: p * factor, part, ops)


def _folded(function: Any, part: Const, ops: Emitter) -> Const:
    found: Const = ops.constants.fold(function, (part,), ops.owner)[0]
    return found
