"""Operators that arrange elements anew. Sizes are read while the graph is followed: they hold for the traced shapes."""

from functools import partial
from math import prod
from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors
from app.engine.forward.onnx.operators.passages import flattened, put_together, renamed, reshaped, split_up
from app.engine.ir.graph import Value


def _target(call: Call) -> tuple[int, ...]:
    """What Reshape makes: 0 keeps a size (unless `allowzero`), -1 takes what is left."""
    sizes, given = call.shape(0), call.integers(1) or ()
    keeps = not call.attribute("allowzero", 0)
    if keeps and any(want == 0 and axis >= len(sizes) for axis, want in enumerate(given)):
        raise call.unknown("shapes-differ", f"Reshape of {sizes} to {given} keeps a size that is not there")
    target = [sizes[axis] if want == 0 and keeps else want for axis, want in enumerate(given)]
    known = prod(size for size in target if size != -1)
    return tuple(prod(sizes) // max(known, 1) if size == -1 else size for size in target)


def _reshape(call: Call) -> Tensors:
    target = _target(call)
    return Tensors(lambda x: x.reshape(target), (call.need(0),), passage=reshaped(call))


def _reshape_linear(call: Call) -> Results | None:
    """The input itself, where each size but one is kept for certain."""
    given, static = call.integers(1) or (), call.dims(0)
    if not call.settled(1) or len(given) != len(static):
        return None
    keeps = not call.attribute("allowzero", 0)
    kept = [want == size or (want == 0 and keeps) for want, size in zip(given, static, strict=True)]
    same = all(kept) or (kept.count(False) == 1 and given[kept.index(False)] == -1)
    return call.need(0) if same else None


def _flatten(call: Call) -> Tensors:
    sizes = call.shape(0)
    axis = call.attribute("axis", 1)
    axis = axis + len(sizes) if axis < 0 else axis
    target = (prod(sizes[:axis]), prod(sizes[axis:]))
    return Tensors(lambda x: x.reshape(target), call.inputs, passage=flattened(call) if axis == 1 else None)


def _flatten_linear(call: Call) -> Results | None:
    return call.need(0) if len(call.shape(0)) == 2 and call.attribute("axis", 1) in (1, -1) else None


def _order(call: Call) -> tuple[int, ...]:
    rank = len(call.shape(0))
    order = call.ints("perm")
    if order is not None and sorted(order) != list(range(rank)):
        raise call.unknown("shapes-differ", f"Transpose orders {rank} dimensions as {order}")
    return tuple(reversed(range(rank))) if order is None else order


def _transpose(call: Call) -> Tensors:
    order = _order(call)
    passage = renamed({axis: place for place, axis in enumerate(order)})
    return Tensors(lambda x: x.permute(order), call.inputs, passage=passage)


def _transpose_linear(call: Call) -> Results | None:
    order = _order(call)
    return call.need(0) if order == tuple(range(len(order))) else None


def _axes(call: Call, rank: int) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze: an attribute, and from opset 13 an input."""
    given = call.integers(1) if call.opset >= 13 else call.ints("axes")
    return None if given is None else tuple(call.axis(axis, rank) for axis in given)


def _squeeze(call: Call) -> Tensors:
    sizes = call.shape(0)
    axes = _axes(call, len(sizes))
    gone = [axis for axis, size in enumerate(sizes) if size == 1] if axes is None else axes
    if any(sizes[axis] != 1 for axis in gone):
        raise call.unknown("shapes-differ", f"Squeeze of {sizes} takes away {axes}")
    target = tuple(size for axis, size in enumerate(sizes) if axis not in gone)
    left = [axis for axis in range(len(sizes)) if axis not in gone]
    settled = axes is not None and (call.opset < 13 or call.settled(1))
    passage = renamed({axis: place for place, axis in enumerate(left)}) if settled else None
    return Tensors(lambda x: x.reshape(target), (call.need(0),), passage=passage)


def _unsqueeze(call: Call) -> Tensors:
    rank = len(call.shape(0))
    count = len((call.integers(1) if call.opset >= 13 else call.ints("axes")) or ())
    axes = _axes(call, rank + count) or ()
    sizes = iter(call.shape(0))
    if len(set(axes)) != count:
        raise call.unknown("shapes-differ", f"Unsqueeze adds {axes}")
    target = tuple(1 if axis in axes else next(sizes) for axis in range(rank + count))
    left = [axis for axis in range(rank + count) if axis not in axes]
    settled = call.opset < 13 or call.settled(1)
    passage = renamed(dict(enumerate(left))) if settled else None
    return Tensors(lambda x: x.reshape(target), (call.need(0),), passage=passage)


def _expand(call: Call) -> Tensors:
    """Both broadcast: a 1 on either side gives way to the other's size."""
    sizes, wanted = call.shape(0), call.integers(1) or ()
    rank = max(len(sizes), len(wanted))
    aligned = zip((1,) * (rank - len(sizes)) + sizes, (1,) * (rank - len(wanted)) + wanted, strict=True)
    target = tuple(want if size == 1 else size for size, want in aligned)
    if any(want not in (1, size) for size, want in zip(reversed(target), reversed(wanted), strict=False)):
        raise call.unknown("shapes-differ", f"Expand of {sizes} to {wanted}")
    return Tensors(lambda x: x.expand(target), (call.need(0),))


def _expand_linear(call: Call) -> Results | None:
    wanted, static = call.integers(1) or (), call.dims(0)
    aligned = static[len(static) - len(wanted) :]
    fits = len(wanted) <= len(static) and all(want in (1, size) for want, size in zip(wanted, aligned, strict=True))
    return call.need(0) if call.settled(1) and fits else None


def _tile(call: Call) -> Tensors:
    repeats = call.integers(1) or ()
    return Tensors(lambda x: x.repeat(repeats), (call.need(0),))


def _tile_linear(call: Call) -> Results | None:
    return call.need(0) if call.settled(1) and set(call.integers(1) or ()) <= {1} else None


def _concat(call: Call) -> Tensors:
    return Tensors(partial(_cat, call.attribute("axis")), call.inputs)


def _cat(axis: int, *tensors: Tensor) -> Tensor:
    return torch.cat(tensors, axis)


def _concat_linear(call: Call) -> Results | None:
    values = [value for value in call.inputs if isinstance(value, Value) and value.dtype.is_floating_point]
    if len(call.inputs) == 1:
        return call.need(0)
    if len(values) != len(call.inputs) or len({len(value.shape) for value in values}) != 1:
        return None
    return call.ops.concat(values, call.axis(call.attribute("axis"), len(values[0].shape)))


def _identity(call: Call) -> Results | None:
    return call.need(0)


def _depth_to_space(call: Call) -> Tensors:
    block, in_rows = call.attribute("blocksize"), call.attribute("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if in_rows:
            return torch.pixel_shuffle(x, block)
        parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return Tensors(run, call.inputs, passage=split_up(call, block, in_rows))


def _space_to_depth(call: Call) -> Tensors:
    block = call.attribute("blocksize")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * block**2, h // block, w // block)

    return Tensors(run, call.inputs, passage=put_together(call, block))


def _same(call: Call) -> Tensors:
    return Tensors(lambda x: x, (call.need(0),))


OPERATORS: Final[dict[str, Operator]] = {
    "Concat": Operator(_concat, _concat_linear),
    "DepthToSpace": Operator(_depth_to_space),
    "Expand": Operator(_expand, _expand_linear),
    "Flatten": Operator(_flatten, _flatten_linear),
    "Identity": Operator(_same, _identity),
    "Reshape": Operator(_reshape, _reshape_linear),
    "SpaceToDepth": Operator(_space_to_depth),
    "Squeeze": Operator(_squeeze),
    "Tile": Operator(_tile, _tile_linear),
    "Transpose": Operator(_transpose, _transpose_linear),
    "Unsqueeze": Operator(_unsqueeze),
}
