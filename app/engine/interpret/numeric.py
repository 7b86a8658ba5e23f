"""The numeric reading: a graph run step by step with torch.nn.functional, in any dtype. It knows no algebra."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.interpret.exact import exact
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value, readers

_CONV = (None, F.conv1d, F.conv2d, F.conv3d)
_CONV_TRANSPOSED = (None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_AVG_POOL = (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)

Read = Callable[[Const], Tensor]


class Window(Protocol):
    """Where a convolution looks: an `ir.Conv`, or the algebra's geometry, which this reading does not know."""

    @property
    def stride(self) -> tuple[int, ...]: ...
    @property
    def padding(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def dilation(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> int: ...
    @property
    def padding_mode(self) -> str: ...
    @property
    def transposed(self) -> bool: ...
    @property
    def output_padding(self) -> tuple[int, ...]: ...


def run(
    graph: Graph, inputs: Sequence[Tensor], dtype: torch.dtype | None, device: str = "cpu", read: Read | None = None
) -> Any:
    """The graph's outputs for these inputs, as the same nest; every operation is done in `dtype`.

    Without a dtype constants are as they are stored and inputs as the graph declares them, so that a model of several
    dtypes runs as its file says.
    A value is forgotten after its last reader. `read` gives the constants; by default as they are, in `dtype`.
    """
    read = read or reader(dtype, device)
    left = readers(graph)
    values = {
        id(value): _moved(tensor, dtype or value.dtype, device)
        for value, tensor in zip(graph.inputs, inputs, strict=True)
    }
    with torch.no_grad(), exact(device):
        for node in graph.nodes:
            values[id(node.output)] = evaluate(node, [values[id(value)] for value in node.inputs], read)
            for value in node.inputs:
                left[id(value)] -= 1
                if left[id(value)] == 0:
                    values.pop(id(value), None)
    return outputs_of(graph, values)


def reader(dtype: torch.dtype | None, device: str) -> Read:
    """Constants as the file has them, in `dtype`."""
    return lambda const: const.value(dtype, device)


def outputs_of(graph: Graph, values: Mapping[int, Tensor]) -> Any:
    """The nest of outputs with tensors in the place of values."""

    def fill(nest: Any) -> Any:
        if isinstance(nest, Value):
            return values[id(nest)]
        if isinstance(nest, dict):
            return {key: fill(part) for key, part in nest.items()}
        if isinstance(nest, (list, tuple)):
            return type(nest)(fill(part) for part in nest)
        return nest

    return fill(graph.outputs)


def evaluate(node: Node, args: list[Tensor], read: Read) -> Tensor:
    """One operation on tensors."""
    operation = node.operation
    x = args[0] if args else torch.empty(0)
    match operation:
        case ir.Conv():
            return convolve(x, read(operation.weight), _optional(operation.bias, read), operation)
        case ir.Linear():
            return F.linear(x, read(operation.weight), _optional(operation.bias, read))
        case ir.BatchNorm():
            return _batch_norm(x, operation, read)
        case ir.Scale():
            return x * _along(read(operation.factor), x, operation.axis)
        case ir.Shift():
            return x + _along(read(operation.offset), x, operation.axis)
        case ir.Add():
            return args[0] + args[1]
        case ir.Concat():
            return torch.cat(args, operation.dim)
        case ir.AvgPool():
            pool: Any = _AVG_POOL[len(operation.kernel)]
            pooled: Tensor = pool(
                x,
                operation.kernel,
                operation.stride,
                operation.padding,
                operation.ceil_mode,
                operation.count_include_pad,
            )
            return pooled
        case ir.Pad():
            return F.pad(x, [side for pair in reversed(operation.padding) for side in pair])
        case ir.Take():
            return x.index_select(operation.axis, torch.tensor(operation.channels, device=x.device))
        case ir.Apply():
            return _apply(operation, args, read)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Window) -> Tensor:
    """A convolution as torch.nn runs it: other padding modes and uneven padding by an explicit pad.

    A weight of two dimensions acts along dimension 1.
    """
    if weight.ndim == 2:
        return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)
    dims = weight.ndim - 2
    if geometry.transposed:
        pads = tuple(begin for begin, _ in geometry.padding)
        extra = geometry.output_padding or (0,) * dims
        more = tuple(max(size, 0) for size in extra)
        transpose: Any = _CONV_TRANSPOSED[dims]
        result: Tensor = transpose(x, weight, bias, geometry.stride, pads, more, geometry.groups, geometry.dilation)
        less = [side for size in reversed(extra) for side in (0, min(size, 0))]
        return F.pad(result, less) if any(less) else result
    pads = tuple(begin for begin, _ in geometry.padding)
    if geometry.padding_mode != "zeros" or any(begin != end for begin, end in geometry.padding):
        flat = [side for pair in reversed(geometry.padding) for side in pair]
        x = F.pad(x, flat, mode="constant" if geometry.padding_mode == "zeros" else geometry.padding_mode)
        pads = (0,) * dims
    conv: Any = _CONV[dims]
    convolved: Tensor = conv(x, weight, bias, geometry.stride, pads, geometry.dilation, geometry.groups)
    return convolved


def _optional(const: Const | None, read: Read) -> Tensor | None:
    return None if const is None else read(const)


def _batch_norm(x: Tensor, op: ir.BatchNorm, read: Read) -> Tensor:
    mean, var, weight, bias = (_optional(const, read) for const in (op.mean, op.var, op.weight, op.bias))
    return F.batch_norm(x, mean, var, weight, bias, training=mean is None or var is None, eps=op.eps)


def _along(factor: Tensor, x: Tensor, axis: int) -> Tensor:
    if factor.numel() == 1:
        return factor.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return factor.reshape(shape)


def _apply(operation: ir.Apply, args: list[Tensor], read: Read) -> Tensor:
    def fill(arg: Any) -> Any:
        if isinstance(arg, ir.Slot):
            return args[arg.index]
        return read(arg) if isinstance(arg, Const) else arg

    return operation.function(*map(fill, operation.args), **{k: fill(v) for k, v in operation.kwargs.items()})


def _moved(tensor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
