"""Reductions over dimensions, and where the largest and smallest elements are."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Tensors, is_float
from app.engine.forward.onnx.operators.passages import additive, ordering, reduced
from app.engine.ir.graph import Passage

Reduce = Callable[[Tensor, tuple[int, ...]], Tensor]  # keeps the dimensions
Change = Callable[[Passage], Passage]


def _reduction(function: Reduce, axes_are_an_input_from: int, change: Change | None = None) -> Operator:
    def tensors(call: Call) -> Tensors:
        rank, keep = len(call.shape(0)), bool(call.attribute("keepdims", 1))
        given = call.integers(1) if call.opset >= axes_are_an_input_from else call.ints("axes")
        if not given and call.attribute("noop_with_empty_axes", 0):
            return Tensors(lambda x: function(x, ()), (call.need(0),))
        axes = tuple(sorted({call.axis(axis, rank) for axis in given})) if given else tuple(range(rank))

        def run(x: Tensor) -> Tensor:
            reduced = function(x, axes) if axes else function(x, ())
            return reduced if keep or not axes else reduced.squeeze(axes)

        settled = call.opset < axes_are_an_input_from or call.settled(1)
        passage = change(reduced(call, axes, keep)) if change is not None and settled and is_float(call) else None
        return Tensors(run, (call.need(0),), passage=passage)

    return Operator(tensors)


def _each(function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Reduce:
    """torch takes an empty list of dimensions for all of them."""
    return lambda x, axes: function(x, axes) if axes else function(x.unsqueeze(0), (0,)).squeeze(0)


def _sum(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.sum(axes, keepdim=True, dtype=x.dtype)


def _mean(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=True)
    return x.to(torch.float64).mean(axes, keepdim=True).to(x.dtype)


def _prod(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True, dtype=x.dtype)
    return x


def _norm2(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _sum(x * x, axes).to(torch.float64 if not x.is_floating_point() else x.dtype).sqrt().to(x.dtype)


_REDUCTIONS: Final[dict[str, tuple[Reduce, int]]] = {
    "ReduceL1": (lambda x, axes: _sum(x.abs(), axes), 18),
    "ReduceL2": (_norm2, 18),
    "ReduceLogSum": (lambda x, axes: _sum(x, axes).log(), 18),
    "ReduceLogSumExp": (lambda x, axes: torch.logsumexp(x, axes, keepdim=True), 18),
    "ReduceMax": (lambda x, axes: torch.amax(x, axes, keepdim=True), 18),
    "ReduceMean": (_mean, 18),
    "ReduceMin": (lambda x, axes: torch.amin(x, axes, keepdim=True), 18),
    "ReduceProd": (_prod, 18),
    "ReduceSum": (_sum, 13),
    "ReduceSumSquare": (lambda x, axes: _sum(x * x, axes), 18),
}


# What passes a reduction over other dimensions than its own.
_CHANGES: Final[dict[str, Change]] = {
    "ReduceMax": ordering,
    "ReduceMean": lambda passage: passage,
    "ReduceMin": ordering,
    "ReduceSum": additive,
}


def _extreme(function: Callable[..., Tensor]) -> Operator:
    """ArgMax, ArgMin: of equal elements the first, or the last with `select_last_index`."""

    def tensors(call: Call) -> Tensors:
        axis, keep = call.axis(call.attribute("axis", 0), len(call.shape(0))), bool(call.attribute("keepdims", 1))
        last = bool(call.attribute("select_last_index", 0))

        def run(x: Tensor) -> Tensor:
            best = function(x, axis, keepdim=True)
            hits = x == best
            order = torch.arange(x.shape[axis], device=x.device).reshape(-1, *(1,) * (x.ndim - axis - 1))
            outside = -1 if last else x.shape[axis]
            at = torch.where(hits, order, outside)
            return at.amax(axis, keepdim=keep) if last else at.amin(axis, keepdim=keep)

        return Tensors(run, call.inputs)

    return Operator(tensors)


OPERATORS: Final[dict[str, Operator]] = {
    **{name: _reduction(_each(function), opset, _CHANGES.get(name)) for name, (function, opset) in _REDUCTIONS.items()},
    "ArgMax": _extreme(torch.amax),
    "ArgMin": _extreme(torch.amin),
}
