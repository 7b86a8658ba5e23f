"""Tensors made of numbers alone: literals, at the sizes that are followed."""

from math import ceil
from typing import Any

import torch

from app.engine.forward.aten.allowed import CREATED
from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.constants import MAX_LITERAL
from app.engine.forward.aten.emitter import MISFITS, Emitter, unread
from app.engine.ir.graph import Const, Value


def creation(call: Call, ops: Emitter) -> Any:
    """The literal; NotImplemented for an operator that makes no tensor, or makes it of other tensors' numbers."""
    if call.name not in CREATED:
        return NotImplemented
    arguments, varies = dict(call.arguments), call.varies
    model = arguments.pop("self", None)
    if any(isinstance(value, (Value, Const)) for value in arguments.values()):
        return NotImplemented
    shape = call.arguments.get("size", ())
    if isinstance(model, (Value, Const)):
        if "size" not in call.arguments:
            shape, varies = model.shape, varies or (isinstance(model, Value) and not ops.all_fixed(model))
        arguments["self"] = torch.zeros((), dtype=ops.dtype(model)).expand(model.shape)
    _check(call, shape)
    with_numbers = Call(call.name, call.owner, call.overload, arguments, call.defaults, varies, call.place)
    args, kwargs = with_numbers.ordered()
    try:
        made = call.overload(*args, **kwargs)
    except MISFITS as error:
        raise unread(call.owner, "shapes-differ", f"aten::{call.name}: {str(error).splitlines()[0][:300]}") from error
    return ops.constants.literal(made.contiguous(), varies)


def _check(call: Call, shape: Any) -> None:
    elements = 1
    for size in [*shape, *_counts(call)]:
        elements *= max(1, size)
    if elements > MAX_LITERAL:
        raise unread(call.owner, "too-large", f"aten::{call.name} makes {elements:,} numbers")


def _counts(call: Call) -> list[int]:
    """What else says how many numbers there will be."""
    name = call.name.partition(".")[0]
    if name == "arange":
        start, step = (call.get(part, default) for part, default in (("start", 0), ("step", 1)))
        return [abs(ceil((call["end"] - start) / step))] if step else []
    return [abs(int(call[part])) for part in ("n", "m", "steps", "row", "col") if part in call]
