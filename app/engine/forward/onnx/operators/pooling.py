"""AveragePool, MaxPool and the pools over whole maps."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.passages import additive, keeping, ordering, reduced
from app.engine.forward.onnx.operators.reference import by_reference
from app.engine.forward.onnx.operators.window import Pads, Window, flat, window
from app.engine.ir.graph import Passage, Value

_CONV: Final[tuple[Any, ...]] = (F.conv1d, F.conv2d, F.conv3d)
_MAXIMUM: Final[tuple[Any, ...]] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def _window(call: Call) -> Window | None:
    """The window; None where torch has no such pool."""
    kernel = call.ints("kernel_shape") or ()
    if len(kernel) != len(call.shape(0)) - 2:
        raise call.unknown("structure-differs", f"{call.name} has a kernel of {kernel} for maps of {call.shape(0)}")
    return window(call, kernel) if 1 <= len(kernel) <= 3 else None


def _rounds_up(call: Call, where: Window) -> bool:
    """True where `ceil_mode` makes a difference, or may make one for sizes that the file allows."""
    if not call.attribute("ceil_mode", 0) or where.auto_pad != "NOTSET":
        return False
    return any(
        stride > 1 and (size is None or (size + sum(pads) - dilation * (kernel - 1) - 1) % stride)
        for size, pads, dilation, kernel, stride in zip(
            call.dims(0)[2:], where.explicit, where.dilation, where.kernel, where.stride, strict=True
        )
    )


def _average_linear(call: Call) -> Results | None:
    where, x = _window(call), call.need(0)
    if where is None or not isinstance(x, Value) or not is_float(call):
        return None
    pads, up = where.settled_pads(x.shape[2:], call.dims(0)[2:]), _rounds_up(call, where)
    if pads is None or set(where.dilation) != {1}:
        return None
    count = bool(call.attribute("count_include_pad", 0))
    if any(begin != end or 2 * begin > kernel for (begin, end), kernel in zip(pads, where.kernel, strict=True)):
        if not count or up:
            return None
        return call.ops.avg_pool(call.ops.pad(x, pads), where.kernel, where.stride, (0,) * len(pads))
    padding = tuple(begin for begin, _ in pads)
    included = count or not any(padding)
    return call.ops.avg_pool(x, where.kernel, where.stride, padding, ceil_mode=up, count_include_pad=included)


def _beyond(where: Window, pads: Pads, sizes: Sequence[int], up: bool) -> Pads:
    """How much is missing at the ends for the last windows: with `ceil_mode` one more, if it starts before the end."""
    beyond = []
    for axis, ((begin, end), size) in enumerate(zip(pads, sizes, strict=True)):
        stride, reach = where.stride[axis], where.dilation[axis] * (where.kernel[axis] - 1) + 1
        left = (size + begin + end - reach) % stride
        starts = size + begin + end - reach - left + stride < size + begin
        beyond.append((0, stride - left if up and left and starts else 0))
    return tuple(beyond)


def _average(call: Call) -> Tensors:
    """Sums of windows, divided by how many of their elements count; what lies beyond the padding never does."""
    where = _window(call)
    if where is None or not is_float(call):
        return by_reference(call)
    up, count = bool(call.attribute("ceil_mode", 0)), bool(call.attribute("count_include_pad", 0))
    convolve: Any = _CONV[len(where.kernel) - 1]

    def sums(x: Tensor) -> Tensor:
        window = x.new_ones((1, 1, *where.kernel))
        whole: Tensor = convolve(x.flatten(0, 1).unsqueeze(1), window, None, where.stride, 0, where.dilation)
        return whole.reshape(*x.shape[:2], *whole.shape[2:])

    def run(x: Tensor) -> Tensor:
        pads = where.pads(x.shape[2:])
        beyond = flat(_beyond(where, pads, x.shape[2:], up))
        counted = F.pad(torch.ones_like(x[:1, :1]), flat(pads), value=float(count))
        return sums(F.pad(F.pad(x, flat(pads)), beyond)) / sums(F.pad(counted, beyond))

    passage = keeping(call, range(2, len(call.shape(0))))
    bordered = count and (any(map(any, where.explicit)) or where.auto_pad.startswith("SAME"))
    return Tensors(run, call.inputs, passage=additive(passage) if bordered else passage)


def _maximum(call: Call) -> Tensors:
    where = _window(call)
    if where is None or call.outputs > 1 or not is_float(call):
        return by_reference(call)
    pool, up = _MAXIMUM[len(where.kernel) - 1], bool(call.attribute("ceil_mode", 0))

    def run(x: Tensor) -> Tensor:
        pads = where.pads(x.shape[2:])
        beyond = _beyond(where, pads, x.shape[2:], up)
        padded = F.pad(F.pad(x, flat(pads), value=-torch.inf), flat(beyond), value=-torch.inf)
        result: Tensor = pool(padded, where.kernel, where.stride, 0, where.dilation)
        return result

    return Tensors(run, call.inputs, passage=ordering(keeping(call, range(2, len(call.shape(0))))))


def _spatial(function: Callable[..., Tensor], change: Callable[[Passage], Passage]) -> Callable[[Call], Tensors]:
    def tensors(call: Call) -> Tensors:
        dims = tuple(range(2, len(call.shape(0))))
        passage = change(reduced(call, dims, keep=True))
        return Tensors(lambda x: function(x, dims, keepdim=True), call.inputs, passage=passage)

    return tensors


OPERATORS: Final[dict[str, Operator]] = {
    "AveragePool": Operator(_average, _average_linear),
    "MaxPool": Operator(_maximum),
    "GlobalAveragePool": Operator(_spatial(torch.mean, lambda passage: passage)),
    "GlobalMaxPool": Operator(_spatial(torch.amax, ordering)),
}
