"""Operations of the small SSA form as ONNX operators, opset 11 and later; constants are named afterwards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node, Value

_PAD_MODES: Final = {"reflect": "reflect", "replicate": "edge"}


@dataclass(frozen=True, eq=False, slots=True)
class Weight:
    """A constant that an operator reads, arranged as it wants it."""

    const: Const
    dtype: torch.dtype
    shape: tuple[int, ...] | None = None  # None: as it is
    turned: bool = False  # a matrix, transposed

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for weights that are one tensor."""
        return id(self.const), self.dtype, self.shape, self.turned

    def tensor(self) -> Tensor:
        """Computed in float64 and rounded once, where it is an expression."""
        const = self.const
        exact = const.value(torch.float64 if const.compute is not None else None)
        cast = exact.to(self.dtype) if exact.is_floating_point() else exact
        arranged = cast.t() if self.turned else cast
        return (arranged if self.shape is None else arranged.reshape(self.shape)).contiguous()


@dataclass(frozen=True, slots=True)
class Draft:
    """An operator to be written. Inputs are names of values, or weights."""

    op_type: str
    inputs: tuple[str | Weight, ...]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)


Name = Callable[[Value], str]
Fresh = Callable[[str], str]


def operators_of(operation: ir.Operation, rank: int) -> int | None:
    """How many operators stand for the operation on an input of this rank; None where ONNX has none for it."""
    match operation:
        case ir.Apply():
            return None
        case ir.Linear():
            return 2 if operation.bias is not None and rank != 2 else 1
        case ir.Conv() if operation.padding_mode != "zeros":
            return 2 if operation.padding_mode in _PAD_MODES and not operation.transposed else None
        case ir.BatchNorm() if operation.mean is None or operation.var is None:
            return None
    return 1


def emit(node: Node, name: Name, fresh: Fresh) -> list[Draft]:
    """The operators for a node, in order."""
    names, output = tuple(name(value) for value in node.inputs), name(node.output)
    return list(_drafts(node, names, output, fresh))


def _drafts(node: Node, inputs: tuple[str, ...], output: str, fresh: Fresh) -> Iterator[Draft]:
    operation, x, shape = node.operation, inputs[0], node.inputs[0].shape
    weigh = _Weigh(node.inputs[0].dtype)
    match operation:
        case ir.Conv():
            yield from _conv(operation, x, output, weigh, fresh)
        case ir.Linear():
            yield from _linear(operation, x, output, len(shape), weigh, fresh)
        case ir.BatchNorm():
            yield _batch_norm(operation, x, output, shape[1], weigh)
        case ir.Scale():
            yield Draft("Mul", (x, weigh.along(operation.factor, operation.axis, len(shape))), output)
        case ir.Shift():
            yield Draft("Add", (x, weigh.along(operation.offset, operation.axis, len(shape))), output)
        case ir.Add():
            yield Draft("Add", inputs, output)
        case ir.Concat():
            yield Draft("Concat", inputs, output, {"axis": operation.dim})
        case ir.AvgPool():
            yield _avg_pool(operation, x, output)
        case ir.Pad():
            yield Draft("Pad", (x, integers(_sides(operation.padding))), output)
        case ir.Take():
            yield _take(operation, x, output)
        case _:
            raise AssertionError(f"no ONNX operator stands for {type(operation).__name__}")


@dataclass(frozen=True, slots=True)
class _Weigh:
    """Makes weights in the dtype of what they meet."""

    dtype: torch.dtype

    def __call__(self, const: Const) -> Weight:
        return Weight(const, self.dtype)

    def along(self, const: Const, axis: int, rank: int) -> Weight:
        """Shaped so that it broadcasts over all but one dimension."""
        count = prod(const.shape)
        return Weight(const, self.dtype, () if count == 1 else (count, *(1,) * (rank - axis - 1)))

    def filled(self, value: float, count: int) -> Weight:
        return self(filled(value, count, self.dtype))


def filled(value: float, count: int, dtype: torch.dtype) -> Const:
    """A constant of one number; its path is the name it would like."""
    tensor = torch.full((count,), value, dtype=dtype)
    return Const((), (f"{'ones' if value else 'zeros'}_{count}",), (count,), None, tensor)


def integers(values: tuple[int, ...], *names: str) -> Weight:
    """A list of integers, and what it would like to be called."""
    tensor = torch.tensor(values, dtype=torch.int64)
    return Weight(Const((), names, tuple(tensor.shape), None, tensor), torch.int64)


def _conv(operation: ir.Conv, x: str, output: str, weigh: _Weigh, fresh: Fresh) -> Iterator[Draft]:
    dims = len(operation.stride)
    if operation.padding_mode != "zeros":
        padded = fresh(f"{x}_padded")
        mode = {"mode": _PAD_MODES[operation.padding_mode]}
        yield Draft("Pad", (x, integers(_sides(operation.padding))), padded, mode)
        x, operation = padded, replace(operation, padding=((0, 0),) * dims)
    attributes: dict[str, Any] = {
        "dilations": operation.dilation,
        "group": operation.groups,
        "kernel_shape": operation.weight.shape[2:],
        "pads": tuple(side for sides in zip(*_cropped(operation), strict=True) for side in sides),
        "strides": operation.stride,
    }
    if operation.transposed and max(operation.output_padding, default=0) > 0:
        attributes["output_padding"] = tuple(max(extra, 0) for extra in operation.output_padding)
    weights = (operation.weight,) if operation.bias is None else (operation.weight, operation.bias)
    op_type = "ConvTranspose" if operation.transposed else "Conv"
    yield Draft(op_type, (x, *map(weigh, weights)), output, attributes)


def _cropped(operation: ir.Conv) -> tuple[tuple[int, int], ...]:
    """What is padded, or cropped, at begin and end: output padding below 0 is the end's."""
    if not operation.transposed:
        return operation.padding
    extras = zip(operation.padding, operation.output_padding, strict=True)
    return tuple((begin, end - min(extra, 0)) for (begin, end), extra in extras)


def _linear(operation: ir.Linear, x: str, output: str, rank: int, weigh: _Weigh, fresh: Fresh) -> Iterator[Draft]:
    weight, bias = operation.weight, operation.bias
    if rank == 2 and bias is not None:
        yield Draft("Gemm", (x, weigh(weight), weigh(bias)), output, {"transB": 1})
        return
    product = output if bias is None else fresh(f"{output}_product")
    yield Draft("MatMul", (x, replace(weigh(weight), turned=True)), product)
    if bias is not None:
        yield Draft("Add", (product, weigh(bias)), output)


def _batch_norm(operation: ir.BatchNorm, x: str, output: str, channels: int, weigh: _Weigh) -> Draft:
    assert operation.mean is not None
    assert operation.var is not None
    scale = weigh.filled(1.0, channels) if operation.weight is None else weigh(operation.weight)
    shift = weigh.filled(0.0, channels) if operation.bias is None else weigh(operation.bias)
    inputs = (x, scale, shift, weigh(operation.mean), weigh(operation.var))
    return Draft("BatchNormalization", inputs, output, {"epsilon": operation.eps})


def _avg_pool(operation: ir.AvgPool, x: str, output: str) -> Draft:
    attributes: dict[str, Any] = {
        "count_include_pad": int(operation.count_include_pad),
        "kernel_shape": operation.kernel,
        "pads": operation.padding * 2,
        "strides": operation.stride,
    }
    if operation.ceil_mode:
        attributes["ceil_mode"] = 1
    return Draft("AveragePool", (x,), output, attributes)


def _sides(padding: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """As Pad takes it: all begins, then all ends, batch and channels first."""
    whole = ((0, 0), (0, 0), *padding)
    return tuple(side for sides in zip(*whole, strict=True) for side in sides)


def _take(operation: ir.Take, x: str, output: str) -> Draft:
    first, count = operation.channels[0], len(operation.channels)
    if operation.channels == tuple(range(first, first + count)):
        bounds = (integers((first,)), integers((first + count,)), integers((operation.axis,)))
        return Draft("Slice", (x, *bounds), output)
    return Draft("Gather", (x, integers(operation.channels)), output, {"axis": operation.axis})
