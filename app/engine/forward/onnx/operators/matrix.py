"""MatMul, Gemm and Einsum."""

from functools import partial
from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, broadcast_shapes, is_float
from app.engine.ir.graph import Const, Value


def _weight(call: Call, transposed: bool, alpha: float = 1.0) -> Const | None:
    """The right operand as a Linear's weight (out, in), if it is a matrix that holds for every input."""
    right = call.need(1)
    if not isinstance(right, Const) or right.varies or len(right.shape) != 2:
        return None
    if not transposed and alpha == 1.0:
        return right
    weight = call.ops.compute(call.name, partial(_times, alpha, transposed), (right,))
    return weight if isinstance(weight, Const) else None


def _times(factor: float, transposed: bool, tensor: Tensor) -> Tensor:
    turned = tensor.t() if transposed else tensor
    return turned if factor == 1.0 else turned * factor


def _matmul_linear(call: Call) -> Results | None:
    x = call.need(0)
    if not isinstance(x, Value) or not is_float(call) or not x.shape:
        return None
    weight = _weight(call, transposed=True)
    return None if weight is None else call.ops.linear(x, weight)


def _matmul(call: Call) -> Tensors:
    """The shape is told: to try it would take as long as the product."""
    a, b = call.shape(0), call.shape(1)
    if not a or not b or a[-1] != b[-min(2, len(b))]:
        raise call.unknown("shapes-differ", f"MatMul of {a} and {b}")
    front = broadcast_shapes(call, a[:-2], b[:-2])
    return Tensors(torch.matmul, call.inputs, shape=(*front, *a[-2:-1], *(b[-1:] if len(b) > 1 else ())))


def _gemm_linear(call: Call) -> Results | None:
    x = call.need(0)
    if not isinstance(x, Value) or not is_float(call) or len(x.shape) != 2 or call.attribute("transA", 0):
        return None
    weight = _weight(call, not call.attribute("transB", 0), call.attribute("alpha", 1.0))
    if weight is None:
        return None
    if call.get(2) is None or call.attribute("beta", 1.0) == 0:
        return call.ops.linear(x, weight)
    bias = _bias(call, weight.shape[0])
    return None if bias is None else call.ops.linear(x, weight, bias)


def _bias(call: Call, features: int) -> Const | None:
    """beta * C as (out,), if it is a constant along the last dimension."""
    offset, beta = call.get(2), call.attribute("beta", 1.0)
    if not isinstance(offset, Const) or offset.varies or offset.shape not in _broadcast_to(features):
        return None
    if offset.shape == (features,) and beta == 1.0:
        return offset
    bias = call.ops.compute(call.name, partial(_vector, beta, features), (offset,))
    return bias if isinstance(bias, Const) else None


def _broadcast_to(features: int) -> tuple[tuple[int, ...], ...]:
    return (), (1,), (features,), (1, 1), (1, features)


def _vector(factor: float, features: int, tensor: Tensor) -> Tensor:
    return (tensor * factor).reshape(-1).expand(features)


def _gemm(call: Call) -> Tensors:
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    turn_a, turn_b = call.attribute("transA", 0), call.attribute("transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = (a.t() if turn_a else a) @ (b.t() if turn_b else b)
        product = product if alpha == 1.0 else product * alpha
        return product if c is None else product + (c if beta == 1.0 else c * beta)

    return Tensors(run, call.inputs)


def _einsum(call: Call) -> Tensors:
    return Tensors(partial(torch.einsum, call.attribute("equation")), call.inputs)


OPERATORS: Final[dict[str, Operator]] = {
    "MatMul": Operator(_matmul, _matmul_linear),
    "Gemm": Operator(_gemm, _gemm_linear),
    "Einsum": Operator(_einsum),
}
