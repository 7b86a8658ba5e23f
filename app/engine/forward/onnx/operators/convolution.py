"""Conv and ConvTranspose."""

from typing import Any, Final

import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.counts import check_counts
from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.window import Pads, Window, flat, window
from app.engine.ir.graph import Const, Value

_CONV: Final[tuple[Any, ...]] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED: Final[tuple[Any, ...]] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def _kernel(call: Call) -> tuple[int, ...]:
    """The kernel's size by the weight; the attribute may only repeat it."""
    shape = call.shape(1)
    if not 3 <= len(shape) <= 5 or len(call.shape(0)) != len(shape):
        raise call.unknown("shapes-differ", f"{call.name} with a weight of shape {shape} is not over 1 to 3 dimensions")
    if call.ints("kernel_shape") not in (None, shape[2:]):
        raise call.unknown("structure-differs", f"{call.name} has another kernel_shape than its weight {shape}")
    return shape[2:]


def _weights(call: Call) -> tuple[Const, Const | None] | None:
    """Weight and bias, if they are constants that hold for every input."""
    weight, bias = call.need(1), call.get(2)
    if not isinstance(weight, Const) or isinstance(bias, Value) or not (call.settled(1) and call.settled(2)):
        return None
    return weight, bias


def _groups(call: Call) -> int:
    groups: int = call.attribute("group", 1)
    check_counts(call.ops.owner, call.name, groups=(groups,))
    return groups


def _conv_linear(call: Call) -> Results | None:
    where, weights, x = window(call, _kernel(call)), _weights(call), call.need(0)
    if weights is None or not isinstance(x, Value) or not is_float(call):
        return None
    padding = where.settled_pads(x.shape[2:], call.dims(0)[2:])
    if padding is None:
        return None
    groups = _groups(call)
    return call.ops.conv(x, *weights, stride=where.stride, padding=padding, dilation=where.dilation, groups=groups)


def _conv(call: Call) -> Tensors:
    where, groups = window(call, _kernel(call)), _groups(call)
    convolve = _CONV[len(where.kernel) - 1]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padded = F.pad(x, flat(where.pads(x.shape[2:])))
        result: Tensor = convolve(padded, weight, bias, where.stride, 0, where.dilation, groups)
        return result

    return Tensors(run, call.inputs)


def _pads_transposed(call: Call, where: Window, sizes: tuple[int, ...], extra: tuple[int, ...]) -> Pads:
    """`output_shape` and `auto_pad` say how much of the whole output is cut off; the operator's text says where."""
    wanted = call.ints("output_shape")
    if wanted is None:
        if where.auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
            return where.pads(sizes)
        wanted = tuple(size * stride for size, stride in zip(sizes, where.stride, strict=True))
    pads = []
    for axis, size in enumerate(sizes):
        reach = where.dilation[axis] * (where.kernel[axis] - 1) + 1
        total = max(where.stride[axis] * (size - 1) + extra[axis] + reach - wanted[len(wanted) - len(sizes) + axis], 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if where.auto_pad == "SAME_UPPER" else (large, small))
    return tuple(pads)


def _extra(call: Call, dims: int) -> tuple[int, ...]:
    extra = call.ints("output_padding") or (0,) * dims
    if len(extra) != dims or min(extra) < 0:
        raise call.unknown("structure-differs", f"{call.name} has output_padding for other than {dims} dimensions")
    return extra


def _transposed_linear(call: Call) -> Results | None:
    where, weights, x = window(call, _kernel(call)), _weights(call), call.need(0)
    if weights is None or not isinstance(x, Value) or not is_float(call):
        return None
    extra = _extra(call, len(where.kernel))
    # What auto_pad cuts off does not depend on the size, what output_shape cuts off does.
    if call.ints("output_shape") is not None and None in call.dims(0)[2:]:
        return None
    pads = _pads_transposed(call, where, x.shape[2:], extra)
    # Cut evenly as at the begin; what the end differs by is output padding, or less than none.
    over = tuple(more + begin - end for more, (begin, end) in zip(extra, pads, strict=True))
    if any(more >= max(step) for more, *step in zip(over, where.stride, where.dilation, strict=True)):
        return None
    if call.attribute("output_shape") is not None and not _reaches(call, where, x.shape[2:], extra):
        return None
    return call.ops.conv_transposed(
        x,
        *weights,
        stride=where.stride,
        padding=tuple(begin for begin, _ in pads),
        output_padding=over,
        crops=True,
        dilation=where.dilation,
        groups=_groups(call),
    )


def _reaches(call: Call, where: Window, sizes: tuple[int, ...], extra: tuple[int, ...]) -> bool:
    """False where `output_shape` asks for more than there is to cut from."""
    wanted = (call.ints("output_shape") or ())[-len(sizes) :]
    whole = [
        stride * (size - 1) + more + dilation * (kernel - 1) + 1
        for size, stride, more, dilation, kernel in zip(
            sizes, where.stride, extra, where.dilation, where.kernel, strict=True
        )
    ]
    return all(want <= have for want, have in zip(wanted, whole, strict=True))


def _transposed(call: Call) -> Tensors:
    """The whole output, then cut: torch knows neither uneven padding nor every output padding."""
    where, groups = window(call, _kernel(call)), _groups(call)
    dims = len(where.kernel)
    extra, convolve = _extra(call, dims), _TRANSPOSED[dims - 1]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        pads = _pads_transposed(call, where, tuple(x.shape[2:]), extra)
        whole = convolve(x, weight, None, where.stride, 0, 0, groups, where.dilation)
        cut = tuple((-begin, more - end) for (begin, end), more in zip(pads, extra, strict=True))
        result: Tensor = F.pad(whole, flat(cut))
        return result if bias is None else result + bias.reshape(-1, *(1,) * dims)

    return Tensors(run, call.inputs)


OPERATORS: Final[dict[str, Operator]] = {
    "Conv": Operator(_conv, _conv_linear),
    "ConvTranspose": Operator(_transposed, _transposed_linear),
}
