"""Cast. A run in another dtype than the file's replaces every floating-point type: a cast to one follows the run."""

from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.formula import literal
from app.engine.forward.onnx.operator import Operator, Results, Tensors
from app.engine.ir.onnx_dtypes import torch_dtype


def _target(call: Call) -> torch.dtype:
    if call.name == "CastLike":
        return call.ops.dtype(call.need(1))
    target = torch_dtype(call.attribute("to", 0))
    if target is None:
        raise call.unknown("dtype-not-read", f"Cast to element type {call.attribute('to', 0)} has no torch dtype")
    return target


def _linear(call: Call) -> Results | None:
    x = call.need(0)
    return x if call.ops.dtype(x) == _target(call) else None


def _tensors(call: Call) -> Tensors:
    target = _target(call)
    if not target.is_floating_point:
        return Tensors(lambda x: x.to(target), (call.need(0),))
    return Tensors(_as, (call.need(0), literal(torch.zeros((), dtype=target))))


def _as(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


OPERATORS: Final[dict[str, Operator]] = {"Cast": Operator(_tensors, _linear), "CastLike": Operator(_tensors, _linear)}
