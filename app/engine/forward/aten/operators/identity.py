"""Operators that give what they take: copies, views of all of it, casts to the dtype that it has, dropout at rest."""

from typing import Any, Final

import torch

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter, unread
from app.engine.ir.graph import Const, Value

_SAME: Final = frozenset(
    {
        *(
            "alias.default",
            "clone.default",
            "contiguous.default",
            "detach.default",
            "detach_.default",
            "detach_copy.default",
        ),
        *("lift.default", "lift_fresh.default", "lift_fresh_copy.default"),
        *("detach.default", "detach_.default", "detach_copy.default"),
        *("resolve_conj.default", "resolve_neg.default"),
    }
)
_DROPOUT: Final = frozenset(
    {
        *("dropout.default", "alpha_dropout.default", "feature_dropout.default", "feature_alpha_dropout.default"),
        "native_dropout.default",
    }
)
_CASTS: Final = frozenset(
    {"_to_copy.default", "to.dtype", "to.dtype_layout", "to.device", "to.prim_Device", "to.other", "type_as.default"}
)
COPIES: Final = _SAME | _DROPOUT | _CASTS


def identity(call: Call, ops: Emitter) -> Any:
    """The value itself, or a cast of it."""
    x = call["input"] if "input" in call else call["self"]
    if call.name in _SAME:
        return x
    if call.name in _DROPOUT:
        if call["train"] and call["p"] > 0:
            raise unread(call.owner, "random", f"aten::{call.name} draws random numbers in training mode")
        return [x, None] if call.name == "native_dropout.default" else x
    return cast(x, _asked(call, ops), ops)


def _asked(call: Call, ops: Emitter) -> torch.dtype | None:
    if "other" in call:
        return ops.dtype(call["other"])
    asked: torch.dtype | None = call.get("dtype")
    return asked


def cast(x: Value | Const, dtype: torch.dtype | None, ops: Emitter) -> Value | Const:
    """`x` in another dtype: one of floats follows the dtype in which the graph is run."""
    if dtype is None or dtype == ops.dtype(x):
        return x
    if not dtype.is_floating_point:
        return _applied(x, lambda tensor: tensor.to(dtype), (), ops)
    # What is rounded on its way is no weight that could be computed exactly: it is as if it were not known.
    rounded = isinstance(x, Const) and _narrows(x, dtype, ops)
    return _applied(x, lambda tensor, like: tensor.to(like.dtype), (ops.constants.like(dtype),), ops, rounded)


def _narrows(const: Const, dtype: torch.dtype, ops: Emitter) -> bool:
    before = ops.dtype(const)
    return before.is_floating_point and torch.finfo(dtype).eps > torch.finfo(before).eps


def _applied(
    x: Value | Const, function: Any, more: tuple[Const, ...], ops: Emitter, rounded: bool = False
) -> Value | Const:
    if isinstance(x, Value):
        return ops.apply("cast", function, x, *more)
    found: Const = ops.constants.fold(function, (x, *more), ops.owner, rounded)[0]
    return found
