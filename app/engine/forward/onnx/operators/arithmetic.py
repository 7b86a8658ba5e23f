"""Sums, products and their inverses; with a constant along one dimension they are scale and shift."""

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.emitter import READ_ELEMENTS, Known
from app.engine.forward.onnx.formula import literal
from app.engine.forward.onnx.operator import Operator, Results, Tensors, broadcast, is_float, plain
from app.engine.ir.graph import Const, Value


def axis_of(const: Const, x: Value) -> int | None:
    """The one dimension of `x` along which the constant varies; None if there are several or it enlarges `x`."""
    rank = len(x.shape)
    if len(const.shape) > rank:
        return None
    aligned = (1,) * (rank - len(const.shape)) + const.shape
    along = [axis for axis, size in enumerate(aligned) if size != 1]
    if not along:
        return min(1, rank - 1) if rank else None
    fits = len(along) == 1 and aligned[along[0]] == x.shape[along[0]]
    return along[0] if fits else None


def _with_constant(call: Call) -> tuple[Value, Const, int, bool] | None:
    """The value, the constant, its axis, and whether the constant comes first."""
    first, second = call.need(0), call.need(1)
    if isinstance(first, Const) == isinstance(second, Const):
        return None
    x, const = (first, second) if isinstance(second, Const) else (second, first)
    assert isinstance(x, Value)
    assert isinstance(const, Const)
    if const.varies or not x.dtype.is_floating_point:
        return None
    axis = axis_of(const, x)
    return None if axis is None else (x, const, axis, const is first)


def _derived(call: Call, function: Callable[[Tensor], Tensor], const: Const) -> Const | None:
    """A constant made of another one."""
    derived = call.ops.compute(call.name, function, (const,))
    return derived if isinstance(derived, Const) else None


def _unchanged(call: Call, number: float, *indices: int) -> Known | None:
    """The other of two inputs, where one is a constant of this number throughout that does not enlarge it."""
    for index in indices:
        const, other = call.need(index), call.need(1 - index)
        if not isinstance(const, Const) or const.varies or prod(const.shape) > READ_ELEMENTS:
            continue
        sizes = call.dims(1 - index)
        aligned = zip(reversed(const.shape), reversed(sizes), strict=False)
        fits = len(const.shape) <= len(sizes) and all(one in (1, size) for one, size in aligned)
        # In float64: what is rounded to the number in float32 alone is not that number.
        if fits and bool((const.value(torch.float64) == number).all()):
            return other
    return None


def negated(call: Call, x: Value) -> Value:
    return call.ops.scale(x, literal(torch.tensor(-1.0, dtype=x.dtype)), min(1, len(x.shape) - 1))


def _add(call: Call) -> Results | None:
    same = _unchanged(call, 0, 0, 1)
    if same is not None:
        return same
    first, second = call.need(0), call.need(1)
    if is_float(call, 0) and is_float(call, 1) and first.shape == second.shape:
        assert isinstance(first, Value)
        assert isinstance(second, Value)
        return call.ops.add(first, second)
    found = _with_constant(call)
    if found is None:
        return None
    x, const, axis, _ = found
    return call.ops.shift(x, const, axis)


def _sub(call: Call) -> Results | None:
    same = _unchanged(call, 0, 1)
    if same is not None:
        return same
    first, second = call.need(0), call.need(1)
    if is_float(call, 0) and is_float(call, 1) and first.shape == second.shape and first.shape:
        assert isinstance(first, Value)
        assert isinstance(second, Value)
        return call.ops.add(first, negated(call, second))
    found = _with_constant(call)
    if found is None:
        return None
    x, const, axis, reverse = found
    if reverse:
        return call.ops.shift(negated(call, x), const, axis)
    offset = _derived(call, torch.neg, const)
    return None if offset is None else call.ops.shift(x, offset, axis)


def _mul(call: Call) -> Results | None:
    same = _unchanged(call, 1, 0, 1)
    if same is not None:
        return same
    found = _with_constant(call)
    if found is None:
        return None
    x, const, axis, _ = found
    return call.ops.scale(x, const, axis)


def _div(call: Call) -> Results | None:
    same = _unchanged(call, 1, 1)
    if same is not None:
        return same
    found = _with_constant(call)
    if found is None or found[3]:
        return None
    x, const, axis, _ = found
    factor = _derived(call, torch.reciprocal, const)
    return None if factor is None else call.ops.scale(x, factor, axis)


def _neg(call: Call) -> Results | None:
    x = call.need(0)
    return negated(call, x) if isinstance(x, Value) and is_float(call) and x.shape else None


def _sum(call: Call) -> Results | None:
    values = [value for value in call.inputs if isinstance(value, Value) and value.dtype.is_floating_point]
    if len(values) != len(call.inputs) or len({value.shape for value in values}) != 1:
        return None
    return reduce(call.ops.add, values)


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _power(call: Call) -> Tensors:
    """The result has the dtype of the base. An exponent of one number is part of the function, not a weight of it.

    Who tries how the model answers to other weights would else meet powers of 2.0000001 of negative numbers.
    """
    exponent = call.need(1)
    alone = isinstance(exponent, Const) and exponent.shape in ((), (1,)) and isinstance(call.need(0), Value)
    if not alone:
        return Tensors(lambda x, y: torch.pow(x, y).to(x.dtype), call.inputs, shape=broadcast(call))
    number = call.number(1) or 0.0
    return Tensors(lambda x: torch.pow(x, number).to(x.dtype), (call.need(0),), shape=broadcast(call))


def _mod(call: Call) -> Tensors:
    """`fmod` takes the dividend's sign, as C does; else the divisor's."""
    return Tensors(torch.fmod if call.attribute("fmod", 0) else torch.remainder, call.inputs)


def over_all(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator that takes any number of inputs, two at a time."""

    def run(*tensors: Tensor) -> Tensor:
        return reduce(function, tensors)

    return Operator(lambda call: Tensors(run, call.inputs, shape=broadcast(call)))


def _mean(*tensors: Tensor) -> Tensor:
    return reduce(torch.add, tensors) / len(tensors)


OPERATORS: Final[dict[str, Operator]] = {
    "Add": Operator(plain(torch.add).tensors, _add),
    "Sub": Operator(plain(torch.sub).tensors, _sub),
    "Mul": Operator(plain(torch.mul).tensors, _mul),
    "Div": Operator(plain(divide).tensors, _div),
    "Neg": Operator(plain(torch.neg).tensors, _neg),
    "Sum": Operator(over_all(torch.add).tensors, _sum),
    "Mean": plain(_mean),
    "Max": over_all(torch.maximum),
    "Min": over_all(torch.minimum),
    "Mod": Operator(_mod),
    "Pow": Operator(_power),
}
