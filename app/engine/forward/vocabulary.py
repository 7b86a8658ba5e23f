"""The vocabulary of descriptions: values go in, a value comes out, a node is written down. No weight is read.

Descriptions of module classes and the operator tables of graph formats all speak it. Shapes of anything but the plain
operators come from running the function once on zeros.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.sizes import conv_sizes, transposed_sizes
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node, Scope, Value
from app.engine.ir.tensors import StoredTensor

# What convolutions and norms run in, and the algebra widens: not float8, complex or quantized numbers.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_ELEMENTS = 1 << 28  # of one value; the probes of real models stay far below


class UnknownFlow(Exception):
    """The data flow of a module can't be followed: its class is not described, or an instance departs from it."""

    def __init__(self, path: str, code: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.code, self.reason = path, code, reason


def const(path: str, stored: StoredTensor) -> Const:
    return Const((stored,), (path,), stored.shape)


def expression(compute: Callable[..., Tensor], *parts: Const) -> Const:
    """A constant computed from others (`weight_gen`); its shape by computing it once from zeros."""
    sources = tuple(source for part in parts for source in part.sources)
    paths = tuple(path for part in parts for path in part.paths)
    try:
        shape = compute(*(torch.zeros(part.shape) for part in parts)).shape
    except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError) as error:
        owner = paths[0].rpartition(".")[0] if paths else ""
        reason = f"its weights can't be computed from one another: {str(error).splitlines()[0][:120]}"
        raise UnknownFlow(owner, "shapes-differ", reason) from error
    # Made anew at each run, it takes at least the room of what it makes, however few numbers it is made of.
    priced = max(prod(shape), sum(source.numel for source in sources))
    return Const(sources, paths, tuple(shape), _joint(compute, parts), made=True, numbers=priced)


def _joint(compute: Callable[..., Tensor], parts: Sequence[Const]) -> Callable[..., Tensor]:
    """The function of all stored tensors, where parts are expressions themselves."""
    if all(part.compute is None and len(part.sources) == 1 for part in parts):
        return compute

    def joint(*tensors: Tensor) -> Tensor:
        values, start = [], 0
        for part in parts:
            own = tensors[start : start + len(part.sources)]
            start += len(part.sources)
            values.append(_part_value(part, own, tensors))
        return compute(*values)

    return joint


def _part_value(part: Const, own: Sequence[Tensor], beside: Sequence[Tensor]) -> Tensor:
    if part.literal is not None:
        return part.literal.to(beside[0]) if part.literal.is_floating_point() else part.literal
    return own[0] if part.compute is None else part.compute(*own)


def literal(tensor: Tensor) -> Const:
    return Const((), (), tuple(tensor.shape), None, tensor)


@dataclass(slots=True)
class Vocabulary:
    """Writes down nodes in the name of `owner`."""

    nodes: list[Node] = field(default_factory=list)
    owner: str = ""
    scope: Scope | None = None

    # --- linear operators --------------------------------------------------------------------------------------

    def conv(
        self,
        x: Value,
        weight: Const,
        bias: Const | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        padding_mode: str = "zeros",
    ) -> Value:
        """Convolution with weight (out, in / groups, *kernel); padding is (begin, end) per dimension."""
        spatial = conv_sizes(x.shape, weight.shape, stride, padding, dilation, padding_mode)
        if isinstance(spatial, str):
            raise self._misfit(spatial)
        if type(groups) is not int:
            raise self._misfit(f"a convolution in {groups!r} groups"[:80])
        if x.shape[1] != weight.shape[1] * groups:
            raise self._misfit(f"{x.shape[1]} channels meet a convolution for {weight.shape[1] * groups}")
        operation = ir.Conv(weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups, padding_mode)
        return self._emit(operation, (x,), (x.shape[0], weight.shape[0], *spatial), x.dtype)

    def conv_transposed(
        self,
        x: Value,
        weight: Const,
        bias: Const | None = None,
        *,
        stride: Sequence[int],
        padding: Sequence[int],
        output_padding: Sequence[int],
        crops: bool = False,
        dilation: Sequence[int],
        groups: int = 1,
    ) -> Value:
        """Transposed convolution with weight (in, out / groups, *kernel)."""
        spatial = transposed_sizes(x.shape, weight.shape, stride, padding, output_padding, dilation, crops)
        if isinstance(spatial, str):
            raise self._misfit(spatial)
        if x.shape[1] != weight.shape[0]:
            raise self._misfit(f"{x.shape[1]} channels meet a transposed convolution for {weight.shape[0]}")
        pads = tuple((p, p) for p in padding)
        operation = ir.Conv(
            weight, bias, tuple(stride), pads, tuple(dilation), groups, "zeros", True, tuple(output_padding)
        )
        return self._emit(operation, (x,), (x.shape[0], weight.shape[1] * groups, *spatial), x.dtype)

    def linear(self, x: Value, weight: Const, bias: Const | None = None) -> Value:
        if x.shape[-1] != weight.shape[1]:
            raise self._misfit(f"{x.shape[-1]} features meet a Linear for {weight.shape[1]}")
        return self._emit(ir.Linear(weight, bias), (x,), (*x.shape[:-1], weight.shape[0]), x.dtype)

    def batch_norm(
        self, x: Value, mean: Const | None, var: Const | None, weight: Const | None, bias: Const | None, eps: float
    ) -> Value:
        for part in (mean, var, weight, bias):
            if part is not None and part.shape != (x.shape[1],):
                raise self._misfit(f"{x.shape[1]} channels meet a batch norm for {part.shape}")
        return self._emit(ir.BatchNorm(mean, var, weight, bias, eps), (x,), x.shape, x.dtype)

    def scale(self, x: Value, factor: Const, axis: int = 1) -> Value:
        """x * factor, the factor along dimension `axis`."""
        return self._emit(ir.Scale(self._along(x, factor, axis), axis), (x,), x.shape, x.dtype)

    def shift(self, x: Value, offset: Const, axis: int = 1) -> Value:
        """x + offset, the offset along dimension `axis`."""
        return self._emit(ir.Shift(self._along(x, offset, axis), axis), (x,), x.shape, x.dtype)

    def _along(self, x: Value, part: Const, axis: int) -> Const:
        count = 1
        for size in part.shape:
            count *= size
        if count not in (1, x.shape[axis]):
            raise self._misfit(f"{count} factors meet {x.shape[axis]} channels")
        return part

    def add(self, x: Value, y: Value) -> Value:
        if x.shape != y.shape:
            return self.apply("add", torch.add, x, y)
        return self._emit(ir.Add(), (x, y), x.shape, x.dtype)

    def concat(self, values: Sequence[Value], dim: int = 1) -> Value:
        if not values:
            raise self._misfit("there is nothing to concatenate")
        first = values[0].shape
        dim = dim % len(first)
        for value in values[1:]:
            if value.shape[:dim] + value.shape[dim + 1 :] != first[:dim] + first[dim + 1 :]:
                raise self._misfit(f"maps of {[value.shape for value in values]} can't be concatenated along {dim}")
        shape = (*first[:dim], sum(value.shape[dim] for value in values), *first[dim + 1 :])
        return self._emit(ir.Concat(dim), tuple(values), shape, values[0].dtype)

    def avg_pool(
        self,
        x: Value,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Value:
        operation = ir.AvgPool(tuple(kernel), tuple(stride), tuple(padding), ceil_mode, count_include_pad)
        if len(x.shape) != len(kernel) + 2:
            raise self._misfit(f"a value of shape {x.shape} meets a pool over {len(kernel)} dimensions")
        pool = (torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d, torch.nn.functional.avg_pool3d)
        arguments = (operation.kernel, operation.stride, operation.padding, ceil_mode, count_include_pad)
        sample = self._tried("avg_pool", pool[len(kernel) - 1], (x, *arguments), {})
        return self._emit(operation, (x,), tuple(sample.shape), x.dtype)

    def pad(self, x: Value, padding: Sequence[tuple[int, int]]) -> Value:
        """Zeros around the spatial dimensions (from the third on), (begin, end) for each; a negative number crops."""
        sides = tuple((begin, end) for begin, end in padding)
        if len(x.shape) != len(sides) + 2:
            raise self._misfit(f"a value of shape {x.shape} is padded over {len(sides)} dimensions")
        spatial = [size + begin + end for size, (begin, end) in zip(x.shape[2:], sides, strict=True)]
        if min(spatial, default=1) < 1:
            raise self._misfit(f"of maps of {x.shape[2:]} nothing is left when they are cropped by {sides}")
        return self._emit(ir.Pad(sides), (x,), (*x.shape[:2], *spatial), x.dtype)

    def take(self, x: Value, channels: Sequence[int], axis: int = 1) -> Value:
        """Some channels along dimension `axis`, in this order."""
        axis = axis % len(x.shape)
        if not channels or not all(0 <= channel < x.shape[axis] for channel in channels):
            raise self._misfit(f"{x.shape[axis]} channels do not hold all that are taken")
        shape = (*x.shape[:axis], len(channels), *x.shape[axis + 1 :])
        return self._emit(ir.Take(tuple(channels), axis), (x,), shape, x.dtype)

    # --- everything else ---------------------------------------------------------------------------------------

    def pointwise(self, name: str, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Value:
        """A function of one or more values that keeps the first one's shape (an activation): not run to know it."""
        return self._apply(name, function, args, kwargs, args[0].shape, args[0].dtype)

    def apply(self, name: str, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Value:
        """Any function of tensors with one tensor as its result; Values and Consts may stand among the arguments."""
        sample = self._tried(name, function, args, kwargs)
        return self._apply(name, function, args, kwargs, tuple(sample.shape), sample.dtype)

    def apply_many(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Value]:
        """Any function with several tensors as its result, each of which becomes a value."""
        samples = self._tried(name, function, args, kwargs)
        whole = self._apply(name, function, args, kwargs, (), torch.float32)
        return [
            self._apply(f"{name}, output {index}", getitem, (whole, index), {}, tuple(sample.shape), sample.dtype)
            for index, sample in enumerate(samples)
        ]

    def _tried(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function makes of zeros."""
        try:
            return function(*[_sample(arg) for arg in args], **{key: _sample(arg) for key, arg in kwargs.items()})
        except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise self._misfit(f"{name} does not take these shapes: {str(error).splitlines()[0]}") from error

    def _apply(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Value:
        inputs: list[Value] = []

        def slot(arg: Any) -> Any:
            if isinstance(arg, Value):
                inputs.append(arg)
                return ir.Slot(len(inputs) - 1)
            return arg

        operation = ir.Apply(name, function, tuple(slot(a) for a in args), {k: slot(a) for k, a in kwargs.items()})
        return self._emit(operation, tuple(inputs), shape, dtype)

    def _emit(
        self,
        operation: ir.Operation,
        inputs: tuple[Value, ...],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Value:
        if prod(shape) > _MOST_ELEMENTS:
            raise self._misfit(f"it makes a tensor of shape {shape} of the probe, more than can be tried")
        output = Value(shape, None, dtype)
        node = Node(operation, inputs, output, self.owner, self.scope)
        output.node = node
        if not isinstance(operation, ir.Apply):
            self._check_dtypes(node)
        self.nodes.append(node)
        return output

    def _check_dtypes(self, node: Node) -> None:
        plain = [const for const in node.consts() if const.compute is None]
        dtypes = [tensor.dtype for const in plain for tensor in const.sources]
        odd = next((dtype for dtype in dtypes if dtype not in _DTYPES), None)
        if odd is not None:
            raise UnknownFlow(self.owner, "dtype-not-described", f"its numbers are stored as {odd}")

    def _misfit(self, reason: str) -> UnknownFlow:
        return UnknownFlow(self.owner, "shapes-differ", reason)


def _sample(arg: Any) -> Any:
    """Zeros in the place of values; torch's meta device would load 80 MB of shape functions for a second."""
    if isinstance(arg, Value):
        return torch.zeros(arg.shape, dtype=arg.dtype)
    if isinstance(arg, Const):
        stored = arg.stored_dtype
        return torch.zeros(arg.shape, dtype=torch.float32 if stored.is_floating_point else stored)
    return arg
