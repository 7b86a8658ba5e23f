"""Joining, splitting, padding and pooling: what moves numbers between channels and places, linearly."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import Any, Final

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter
from app.engine.ir.graph import Const, Value

_JOINS: Final = frozenset({"cat.default", "concat.default", "concatenate.default"})
_SPLITS: Final = frozenset(
    {
        *("split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default"),
        *("unsafe_split.Tensor", "unsafe_split_with_sizes.default", "unsafe_chunk.default"),
    }
)
_SLICES: Final = frozenset({"slice.Tensor", "narrow.default", "index_select.default"})
_PADS: Final = frozenset({"constant_pad_nd.default", "pad.default"})
_POOLS: Final = {f"avg_pool{dims}d.default": dims for dims in (1, 2, 3)}
TAKES: Final = _SPLITS | _SLICES
CHANNELS: Final = _JOINS | TAKES | _PADS | frozenset(_POOLS)
_MOST: Final = 1 << 16  # channels: what is sliced longer is no channel dimension


def channels(call: Call, ops: Emitter) -> Any:
    """One of the operators above, where all but its input is known; else NotImplemented."""
    if call.name in _JOINS:
        return _joined(call, ops)
    if call.name in _PADS:
        return _padded(call, ops)
    return _pooled(call, ops) if call.name in _POOLS else _taken(call, ops)


def _joined(call: Call, ops: Emitter) -> Any:
    parts = call["tensors"]
    if not parts or not all(isinstance(part, Value) and part.shape for part in parts):
        return NotImplemented
    if len({(part.dtype, len(part.shape)) for part in parts}) > 1 or not _is_axis(call["dim"], parts[0]):
        return NotImplemented
    return parts[0] if len(parts) == 1 else ops.concat(parts, call["dim"])


def _taken(call: Call, ops: Emitter) -> Any:
    """Parts of a dimension that is of the same size for all inputs."""
    x = call["self"]
    if not isinstance(x, Value) or call.varies or not _is_axis(call["dim"], x):
        return NotImplemented
    axis = call["dim"] % len(x.shape)
    size = x.shape[axis]
    if not ops.fixed(x, axis) or not 0 < size <= _MOST:
        return NotImplemented
    if call.name in _SPLITS:
        parts = _parts(call, size)
        return [ops.take(x, part, axis) for part in parts] if parts else NotImplemented
    chosen = _chosen(call, size)
    if not chosen:
        return NotImplemented
    return x if list(chosen) == list(range(size)) else ops.take(x, chosen, axis)


def _is_axis(dim: int, x: Value) -> bool:
    return -len(x.shape) <= dim < len(x.shape)


def _parts(call: Call, size: int) -> list[range]:
    """The channels of each part of a split; empty where some part would be."""
    given = call.get("split_sizes", call.get("split_size", call.get("chunks")))
    if isinstance(given, list):
        widths = given
    else:
        widths = _widths(ceil(size / given) if "chunks" in call else given, size) if given > 0 else []
    if sum(widths) != size or min(widths) < 1:
        return []
    return [range(begin, end) for begin, end in pairwise(accumulate(widths, initial=0))]


def _widths(width: int, size: int) -> list[int]:
    return [min(width, size - begin) for begin in range(0, size, width)]


def _chosen(call: Call, size: int) -> Sequence[int] | None:
    if call.name == "slice.Tensor":
        return range(size)[slice(call["start"], call["end"], call["step"])] if call["step"] > 0 else None
    if call.name == "narrow.default":
        start = call["start"] + size if call["start"] < 0 else call["start"]
        return range(start, start + call["length"])
    index = call["index"]
    if not isinstance(index, Const) or index.varies or len(index.shape) != 1:
        return None
    places = [int(place) for place in index.value(None).tolist()]
    return places if all(0 <= place < size for place in places) else None


def _padded(call: Call, ops: Emitter) -> Any:
    """Zeros around the spatial dimensions; the file lists (begin, end) from the last dimension on."""
    x, flat = call["self"], call["pad"]
    zeros = call["value"] in (None, 0) and ("mode" not in call or call["mode"] == "constant")
    if not isinstance(x, Value) or call.varies or not zeros or not x.dtype.is_floating_point or len(flat) % 2:
        return NotImplemented
    spatial = len(x.shape) - 2
    sides = [(flat[at], flat[at + 1]) for at in range(0, len(flat), 2)]
    if any(side != (0, 0) for side in sides[max(spatial, 0) :]) or min(flat, default=0) < 0 or not 1 <= spatial <= 3:
        return NotImplemented
    padding = [*sides, *[(0, 0)] * spatial][:spatial]
    return ops.pad(x, padding[::-1]) if any(side != (0, 0) for side in sides) else x


def _pooled(call: Call, ops: Emitter) -> Any:
    x, dims = call["self"], _POOLS[call.name]
    whole = isinstance(x, Value) and len(x.shape) == dims + 2 and x.dtype.is_floating_point
    if not whole or call.varies or ("divisor_override" in call and call["divisor_override"] is not None):
        return NotImplemented
    kernel = _each(call["kernel_size"], dims)
    stride = _each(call["stride"], dims) if call["stride"] else kernel
    return ops.avg_pool(
        x,
        kernel,
        stride,
        _each(call["padding"], dims),
        ceil_mode=call["ceil_mode"],
        count_include_pad=call["count_include_pad"],
    )


def _each(numbers: Any, dims: int) -> list[int]:
    listed = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
    return listed * dims if len(listed) == 1 else listed
