"""Operators that make tensors of sizes or of nothing, and Dropout, which in inference makes only its mask."""

from math import prod
from typing import Final

import torch
from onnx import numpy_helper

from app.engine.forward.onnx import certainty
from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.emitter import Known
from app.engine.forward.onnx.formula import literal
from app.engine.forward.onnx.operator import Operator, Results, Tensors

_MOST_ELEMENTS: Final = 1 << 26  # of a constant that the file does not hold


def _part(call: Call, rank: int) -> slice:
    """Which sizes Shape gives: from opset 15 `start` and `end` may say so."""
    return slice(*slice(call.attribute("start", 0), call.attribute("end")).indices(rank)[:2])


def _shape(call: Call) -> Results | None:
    sizes, static = call.shape(0), call.dims(0)
    part = _part(call, len(sizes))
    return certainty.sizes(call, sizes[part], static[part])


def _size(call: Call) -> Results | None:
    return literal(torch.tensor(prod(call.shape(0))), varies=None in call.dims(0))


def _constant_of_shape(call: Call) -> Results | None:
    sizes = call.integers(0) or ()
    if min(sizes, default=0) < 0 or prod(sizes) > _MOST_ELEMENTS:
        raise call.unknown("operator-not-evaluated", f"ConstantOfShape of {sizes} is not made")
    value = call.attribute("value")
    filling = torch.zeros(1) if value is None else torch.from_numpy(numpy_helper.to_array(value).copy())
    return literal(filling.reshape(-1)[:1].expand(sizes), varies=not call.settled(0))


def _range(call: Call) -> Results | None:
    start, limit, delta = (call.number(index) for index in range(3))
    if start is None or limit is None or not delta or abs((limit - start) / delta) > _MOST_ELEMENTS:
        raise call.unknown("operator-not-evaluated", f"Range from {start} to {limit} by {delta} is not made")
    count = max(0, -int((start - limit) // delta))
    made = torch.arange(count, dtype=torch.float64) * delta + start if isinstance(start, float) else None
    exact = torch.arange(count) * int(delta) + int(start) if made is None else made
    varies = not all(call.settled(index) for index in range(3))
    return literal(exact.to(call.ops.dtype(call.need(0))), varies)


def _dropout(call: Call) -> Results | None:
    """The input; a mask that keeps everything is the second output."""
    training = call.number(2) if call.opset >= 12 else None
    ratio = call.number(1) if call.opset >= 12 else None
    if training and ratio != 0:
        raise call.unknown("not-deterministic", "Dropout is in training mode: its output is random")
    x: Known = call.need(0)
    if call.outputs < 2:
        return x
    return [x, literal(torch.ones(x.shape, dtype=torch.bool), varies=None in call.dims(0))]


def _never(call: Call) -> Tensors:
    raise call.unknown("operator-not-evaluated", f"{call.name} takes no such inputs")


OPERATORS: Final[dict[str, Operator]] = {
    "ConstantOfShape": Operator(_never, _constant_of_shape),
    "Dropout": Operator(_never, _dropout),
    "Range": Operator(_never, _range),
    "Shape": Operator(_never, _shape),
    "Size": Operator(_never, _size),
}
