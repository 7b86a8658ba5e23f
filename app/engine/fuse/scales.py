"""What stands in the place of a stretch of scales and shifts that no convolution takes in, and what it costs."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from app.engine.interpret.pending import Cost, Pending
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const

_NORM = 4  # vectors that a batch norm holds


def affine_operations(pending: Pending, scale: Const | None, shift: Const | None) -> tuple[ir.Operation, ...] | None:
    """A lone scale and shift: one of them, or both; as a batch norm where that is one operator and no more numbers.

    Where all channels have one number, it is a single number: the file may leave open how many channels there are.
    """
    after, axis = pending.after, pending.axis
    if after is None:
        return None
    widths = after_widths(pending)
    scale, shift = scale or Const((), (), widths[:1]), shift or Const((), (), widths[1:])
    if not bool(after.shift.any()):
        return (ir.Scale(scale, axis),)
    if bool((after.scale == 1).all()):
        return (ir.Shift(shift, axis),)
    count = (after.scale.numel(),)
    if not _is_norm(pending, widths):
        return (ir.Scale(scale, axis), ir.Shift(shift, axis))
    parts = (_filled(0.0, count, scale), _filled(1.0, count, scale), _wide(scale, count), _wide(shift, count))
    return (ir.BatchNorm(*parts, 0.0),)


def after_widths(pending: Pending) -> tuple[int, int]:
    """How many numbers the scale and the shift have."""
    assert pending.after is not None
    return _width(pending.after.scale), _width(pending.after.shift)


def _width(numbers: Tensor) -> int:
    return 1 if bool((numbers == numbers[0]).all()) else numbers.numel()


def _is_norm(pending: Pending, widths: tuple[int, int]) -> bool:
    if pending.axis != 1 or len(pending.value.shape) < 2 or widths == (1, 1):
        return False
    return _NORM * pending.value.shape[1] <= pending.cost.parameters


def _wide(const: Const, shape: tuple[int, ...]) -> Const:
    """A constant of as many numbers as there are channels."""
    if const.shape == shape:
        return const
    literal = None if const.literal is None else const.literal.expand(shape).contiguous()
    return Const((), const.paths, shape, None, literal)


def _filled(number: float, shape: tuple[int, ...], like: Const) -> Const:
    dtype = like.literal.dtype if like.literal is not None else torch.float32
    return Const((), (), shape, None, torch.full(shape, number, dtype=dtype))


def affine_cost(pending: Pending, operations: Sequence[ir.Operation]) -> Cost:
    """What these operators hold and compute."""
    positions = prod(pending.value.shape)
    consts = (const for operation in operations for const in ir.consts_of(operation))
    return Cost(len(operations), sum(const.numel for const in consts), len(operations) * positions)
