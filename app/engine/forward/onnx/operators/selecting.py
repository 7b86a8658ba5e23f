"""Operators that pick elements: Slice, Split, Gather and their kin. Over one dimension they are a Take."""

from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.passages import keeping
from app.engine.forward.onnx.operators.reference import by_reference
from app.engine.ir.graph import Value

_ENDLESS: Final = (1 << 31) - 1  # what exporters write for "up to the end"


def _ranges(call: Call) -> dict[int, tuple[int, int, int]]:
    """(start, end, step) of a Slice by axis, as given."""
    rank = len(call.shape(0))
    starts, ends = call.integers(1) or (), call.integers(2) or ()
    axes = call.integers(3)
    axes = tuple(range(len(starts))) if axes is None else tuple(call.axis(axis, rank) for axis in axes)
    steps = call.integers(4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.unknown("structure-differs", f"Slice from {starts} to {ends} by {steps} over {axes}")
    return {axis: given for axis, *given in zip(axes, starts, ends, steps, strict=True)}  # type: ignore[misc]


def _slice(call: Call) -> Tensors:
    sizes = call.shape(0)
    picked = {axis: range(*slice(*given).indices(sizes[axis])) for axis, given in _ranges(call).items()}

    def run(x: Tensor) -> Tensor:
        for axis, part in picked.items():
            if part.step > 0:
                x = x[(slice(None),) * axis + (slice(part.start, max(part.start, part.stop), part.step),)]
            else:
                x = x.index_select(axis, torch.tensor(list(part), dtype=torch.int64, device=x.device))
        return x

    return Tensors(run, (call.need(0),), passage=keeping(call, picked))


def _slice_linear(call: Call) -> Results | None:
    if not all(call.settled(index) for index in range(1, 5)) or not is_float(call):
        return None
    x, static = call.need(0), call.dims(0)
    assert isinstance(x, Value)
    ranges = {axis: given for axis, given in _ranges(call).items() if not _whole(given, static[axis])}
    if not ranges:
        return x
    axis, (start, end, step) = next(iter(ranges.items()))
    picked = tuple(range(*slice(start, end, step).indices(x.shape[axis])))
    return call.ops.take(x, picked, axis) if len(ranges) == 1 and static[axis] is not None and picked else None


def _whole(given: tuple[int, int, int], size: int | None) -> bool:
    start, end, step = given
    ends = end >= _ENDLESS if size is None else end >= size
    return start == 0 and step == 1 and ends


def _parts(call: Call) -> tuple[int, list[int], bool]:
    """Axis and sizes of a Split, and whether they hold for every input that the file allows."""
    sizes = call.shape(0)
    axis = call.axis(call.attribute("axis", 0), len(sizes))
    given = call.ints("split") if call.opset < 13 else call.integers(1)
    if given is not None:
        parts, settled = list(given), call.opset < 13 or call.settled(1)
    else:
        count = call.attribute("num_outputs", len(call.node.output))
        each = -(-sizes[axis] // max(count, 1))
        parts = [max(0, min(each, sizes[axis] - each * index)) for index in range(count)]
        settled = call.dims(0)[axis] is not None
    if sum(parts) != sizes[axis] or min(parts, default=0) < 0 or len(parts) < len(call.node.output):
        raise call.unknown("shapes-differ", f"Split of {sizes[axis]} into {parts}")
    return axis, parts, settled


def _split(call: Call) -> Tensors:
    axis, parts, _ = _parts(call)
    return Tensors(lambda x: list(x.split(parts, axis)), (call.need(0),), many=True)


def _split_linear(call: Call) -> Results | None:
    x = call.need(0)
    if not isinstance(x, Value) or not is_float(call):
        return None
    axis, parts, settled = _parts(call)
    if not settled or 0 in parts:
        return None
    if len(parts) == 1:
        return x
    if call.dims(0)[axis] is None:  # no weight may be made for as many channels as the probe happens to have
        return None
    starts = [sum(parts[:index]) for index in range(len(parts))]
    return [call.ops.take(x, range(at, at + size), axis) for at, size in zip(starts, parts, strict=True)]


def _counted(indices: Tensor, size: int) -> Tensor:
    """Indices below zero count from the end."""
    return torch.where(indices < 0, indices + size, indices).to(torch.int64)


def _gather(call: Call) -> Tensors:
    axis = call.axis(call.attribute("axis", 0), len(call.shape(0)))

    def run(x: Tensor, indices: Tensor) -> Tensor:
        picked = x.index_select(axis, _counted(indices, x.shape[axis]).reshape(-1))
        return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    return Tensors(run, call.inputs)


def _gather_linear(call: Call) -> Results | None:
    x = call.need(0)
    if not is_float(call) or isinstance(call.need(1), Value) or not call.settled(1) or len(call.shape(1)) != 1:
        return None
    assert isinstance(x, Value)
    axis = call.axis(call.attribute("axis", 0), len(x.shape))
    given, size = call.integers(1) or (), x.shape[axis]
    if not given or call.dims(0)[axis] is None:
        return None
    return call.ops.take(x, [index % size if index < 0 else index for index in given], axis)


def _gather_elements(call: Call) -> Tensors:
    axis = call.axis(call.attribute("axis", 0), len(call.shape(0)))
    return Tensors(lambda x, indices: x.gather(axis, _counted(indices, x.shape[axis])), call.inputs)


def _scatter_elements(call: Call) -> Tensors:
    if call.attribute("reduction", "none") != "none":
        return by_reference(call)
    axis = call.axis(call.attribute("axis", 0), len(call.shape(0)))
    return Tensors(lambda x, at, parts: x.scatter(axis, _counted(at, x.shape[axis]), parts), call.inputs)


def _top_k(call: Call) -> Tensors:
    """Of equal elements the one with the lower index comes first."""
    count = (call.integers(1) or (0,))[0]
    axis = call.axis(call.attribute("axis", -1), len(call.shape(0)))
    largest = bool(call.attribute("largest", 1))
    if not 0 <= count <= call.shape(0)[axis]:
        raise call.unknown("shapes-differ", f"TopK takes {count} of {call.shape(0)[axis]}")

    def run(x: Tensor) -> list[Tensor]:
        ordered = torch.sort(x, dim=axis, descending=largest, stable=True)
        return [part.narrow(axis, 0, count) for part in ordered]

    return Tensors(run, (call.need(0),), many=True)


def _cumulative(call: Call) -> Tensors:
    axis = call.axis((call.integers(1) or (0,))[0], len(call.shape(0)))
    exclusive, reverse = call.attribute("exclusive", 0), call.attribute("reverse", 0)

    def run(x: Tensor) -> Tensor:
        turned = x.flip(axis) if reverse else x
        total = turned.cumsum(axis, dtype=x.dtype)
        total = total - turned if exclusive else total
        return total.flip(axis) if reverse else total

    return Tensors(run, (call.need(0),))


def _triangle(call: Call) -> Tensors:
    diagonal = (call.integers(1) or (0,))[0]
    keep = torch.triu if call.attribute("upper", 1) else torch.tril
    return Tensors(lambda x: keep(x, diagonal), (call.need(0),))


OPERATORS: Final[dict[str, Operator]] = {
    "CumSum": Operator(_cumulative),
    "Gather": Operator(_gather, _gather_linear),
    "GatherElements": Operator(_gather_elements),
    "ScatterElements": Operator(_scatter_elements),
    "Slice": Operator(_slice, _slice_linear),
    "Split": Operator(_split, _split_linear),
    "TopK": Operator(_top_k),
    "Trilu": Operator(_triangle),
}
