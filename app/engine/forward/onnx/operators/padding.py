"""Pad."""

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.passages import keeping
from app.engine.forward.onnx.operators.window import Pads, flat
from app.engine.ir.graph import Value


def _pads(call: Call) -> Pads:
    """(begin, end) for every dimension; below zero elements are cut off. From opset 18 `axes` may name some."""
    rank, given = len(call.shape(0)), call.integers(1) or ()
    axes = call.integers(3)
    axes = tuple(range(rank)) if axes is None else tuple(call.axis(axis, rank) for axis in axes)
    if len(given) != 2 * len(axes):
        raise call.unknown("structure-differs", f"Pad has {len(given)} sides for {len(axes)} dimensions")
    sides = dict(zip(axes, zip(given[: len(axes)], given[len(axes) :], strict=True), strict=True))
    return tuple(sides.get(axis, (0, 0)) for axis in range(rank))


def _linear(call: Call) -> Results | None:
    x = call.need(0)
    if not isinstance(x, Value) or not is_float(call) or not all(call.settled(index) for index in (1, 2, 3)):
        return None
    pads = _pads(call)
    if not any(begin or end for begin, end in pads):
        return x
    spatial = len(pads) > 2 and pads[:2] == ((0, 0), (0, 0)) and min(side for pair in pads for side in pair) >= 0
    zeros = call.attribute("mode", "constant") == "constant" and not call.number(2)
    return call.ops.pad(x, pads[2:]) if spatial and zeros else None


def _tensors(call: Call) -> Tensors:
    pads, mode, x = _pads(call), call.attribute("mode", "constant"), call.need(0)
    if mode == "constant":
        value, sides = call.number(2) or 0, flat(pads)
        return Tensors(lambda x: F.pad(x, sides, value=value), (x,))
    if mode not in ("edge", "reflect", "wrap"):
        raise call.unknown("structure-differs", f"Pad has no mode {mode!r}")
    picked = [_indices(size, pair, mode) for size, pair in zip(x.shape, pads, strict=True)]

    def run(x: Tensor) -> Tensor:
        for axis, indices in enumerate(picked):
            if indices is not None:
                x = x.index_select(axis, indices.to(x.device))
        return x

    # Copies of elements that are there; only constant padding sees another border.
    return Tensors(run, (x,), passage=keeping(call, (axis for axis, pair in enumerate(pads) if any(pair))))


def _indices(size: int, sides: tuple[int, int], mode: str) -> Tensor | None:
    """Where the elements of a padded dimension come from; None where it is not padded."""
    begin, end = sides
    if begin == 0 and end == 0:
        return None
    grown = np.pad(np.arange(size), (max(begin, 0), max(end, 0)), mode=mode)  # type: ignore[call-overload]
    return torch.from_numpy(grown[max(-begin, 0) : len(grown) - max(-end, 0)])


OPERATORS: Final[dict[str, Operator]] = {"Pad": Operator(_tensors, _linear)}
