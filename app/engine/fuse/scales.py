"""What stands in the place of a stretch of scales and shifts that no convolution takes in, and what it costs."""

from collections.abc import Sequence
from math import prod

import torch

from app.engine.interpret.pending import Cost, Pending
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const


def affine_operations(pending: Pending, scale: Const | None, shift: Const | None) -> tuple[ir.Operation, ...] | None:
    """A lone scale and shift: one of them, or both as a batch norm where that is one operator instead of two."""
    after, axis = pending.after, pending.axis
    if after is None:
        return None
    count = (1 if of_single_numbers(pending) else after.scale.numel(),)
    scale, shift = scale or Const((), (), count), shift or Const((), (), count)
    if not bool(after.shift.any()):
        return (ir.Scale(scale, axis),)
    if bool((after.scale == 1).all()):
        return (ir.Shift(shift, axis),)
    if axis != 1 or len(pending.value.shape) < 2 or of_single_numbers(pending):
        return (ir.Scale(scale, axis), ir.Shift(shift, axis))
    return (ir.BatchNorm(_filled(0.0, count, scale), _filled(1.0, count, scale), scale, shift, 0.0),)


def of_single_numbers(pending: Pending) -> bool:
    """Whether one scale and one shift are of all channels, however many there are: the file may leave that open."""
    return all(prod(const.shape) == 1 for node in pending.nodes for const in node.consts())


def _filled(number: float, shape: tuple[int, ...], like: Const) -> Const:
    dtype = like.literal.dtype if like.literal is not None else torch.float32
    return Const((), (), shape, None, torch.full(shape, number, dtype=dtype))


def affine_cost(pending: Pending, operations: Sequence[ir.Operation]) -> Cost:
    """What these operators hold and compute."""
    channels = 1 if of_single_numbers(pending) else pending.value.shape[pending.axis]
    positions = prod(pending.value.shape)
    consts = 4 if isinstance(operations[0], ir.BatchNorm) else len(operations)
    return Cost(len(operations), consts * channels, len(operations) * positions)
