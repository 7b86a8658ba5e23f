"""Numbers of the graph (sizes, most often) computed as Python does, by operators of a closed table."""

import math
import operator as op
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.engine.ir.symbolic import LARGEST


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > 64:
        raise ValueError("a power that large")
    return float(base**exponent) if isinstance(base, float) or exponent < 0 else base**exponent


def _shift(number: int, places: int) -> int:
    if not 0 <= places < 64:
        raise ValueError("a shift that far")
    return number << places


_TABLE: Final[Mapping[str, Callable[..., Any]]] = {
    "_operator.add": op.add,
    "_operator.sub": op.sub,
    "_operator.mul": op.mul,
    "_operator.floordiv": op.floordiv,
    "_operator.truediv": op.truediv,
    "_operator.mod": op.mod,
    "_operator.pow": _power,
    "_operator.neg": op.neg,
    "_operator.pos": op.pos,
    "_operator.eq": op.eq,
    "_operator.ne": op.ne,
    "_operator.lt": op.lt,
    "_operator.le": op.le,
    "_operator.gt": op.gt,
    "_operator.ge": op.ge,
    "_operator.and_": op.and_,
    "_operator.or_": op.or_,
    "_operator.lshift": _shift,
    "_operator.rshift": op.rshift,
    "math.trunc": math.trunc,
    "torch.sym_not": op.not_,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_sqrt": math.sqrt,
    "torch._sym_sqrt": math.sqrt,
    "torch.sym_ite": lambda condition, one, other: one if condition else other,
}


def is_numeric(target: str) -> bool:
    return target in _TABLE


def compute(target: str, arguments: list[Any]) -> float:
    """The result. Raises ValueError where there is none."""
    if not all(isinstance(argument, (bool, int, float)) for argument in arguments):
        raise ValueError("it depends on what is computed")
    try:
        found: float = _TABLE[target](*arguments)
    except (TypeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    if isinstance(found, int) and abs(found) > LARGEST:
        raise ValueError("a number beyond 2^62")
    return found
