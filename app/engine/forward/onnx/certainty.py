"""Which elements of a varying constant are the same for every input that the file allows.

The sizes of (n, 64, h, w) vary, the 64 that is gathered from them does not.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.forward.onnx.call import Call, Dims
from app.engine.forward.onnx.emitter import Known
from app.engine.forward.onnx.formula import literal
from app.engine.ir.graph import Const

# Operators that move elements of their first input (Concat: of all) and leave them as they are.
_MOVING: Final = frozenset({"Concat", "Gather", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
# Operators each element of whose output depends on the elements that it is broadcast from.
_ELEMENTWISE: Final = frozenset({"Add", "Cast", "Div", "Max", "Min", "Mod", "Mul", "Neg", "Sub"})


def sizes(call: Call, traced: Sequence[int], static: Dims) -> Const:
    """A constant of sizes, those that are known statically marked as certain."""
    const = literal(torch.tensor(traced, dtype=torch.int64), None in static)
    return _marked(call, const, torch.tensor([size is not None for size in static], dtype=torch.bool))


def settle(call: Call, function: Callable[..., Any], args: Sequence[Any], result: Known) -> Known:
    """The result, marked; a constant that does not vary if all its elements are certain."""
    if not isinstance(result, Const) or result.literal is None or not result.varies:
        return result
    certain = _certain(call, function, args, result)
    return result if certain is None else _marked(call, result, certain)


def certain_target(call: Call) -> tuple[int, ...] | None:
    """What a Reshape makes of every input that the file allows, where at most one size of that may differ: -1."""
    target = call.get(1)
    if not isinstance(target, Const) or target.literal is None or not target.varies:
        return None
    sizes, marks = target.literal.tolist(), _mark(call, target).tolist()
    certain = [size for size, mark in zip(sizes, marks, strict=True) if mark]
    if len(certain) != len(sizes) - 1 or min(certain, default=1) < 1:
        return None
    return tuple(size if mark else -1 for size, mark in zip(sizes, marks, strict=True))


def _marked(call: Call, const: Const, certain: Tensor) -> Const:
    if bool(certain.all()):
        assert const.literal is not None
        return literal(const.literal)
    call.ops.certain[id(const)] = (const, certain)
    return const


def _certain(call: Call, function: Callable[..., Any], args: Sequence[Any], result: Const) -> Tensor | None:
    """The marks of the result, as the operator makes them of the marks of its inputs."""
    if call.name in _ELEMENTWISE:
        marks = [_mark(call, arg) for arg in args if isinstance(arg, Const)]
        whole = torch.ones(result.shape, dtype=torch.bool)
        for mark in marks:
            whole = whole & mark
        return whole
    if call.name not in _MOVING:
        return None
    moved = len(args) if call.name == "Concat" else 1
    if not all(call.settled(index) for index in range(moved, len(call.inputs))):
        return None
    marks = [_mark(call, arg).long() if index < moved else _value(arg) for index, arg in enumerate(args)]
    moved_marks: Tensor = function(*marks)
    return moved_marks.bool()


def _mark(call: Call, const: Const) -> Tensor:
    known = call.ops.certain.get(id(const))
    return torch.full(const.shape, not const.varies) if known is None else known[1]


def _value(arg: Any) -> Any:
    return arg.value(None) if isinstance(arg, Const) else arg
