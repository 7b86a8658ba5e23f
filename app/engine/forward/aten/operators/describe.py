"""What each operator computes: by a table of those that are linear, else as a function of its tensors."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from app.engine.forward.aten.allowed import ELEMENTWISE, SHAPES
from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import MISFITS, Emitter, unread
from app.engine.forward.aten.invocation import Hole, Invocation
from app.engine.forward.aten.operators.arithmetic import ARITHMETIC, arithmetic
from app.engine.forward.aten.operators.channels import CHANNELS, channels
from app.engine.forward.aten.operators.convolution import CONVOLUTIONS, convolution
from app.engine.forward.aten.operators.creation import creation
from app.engine.forward.aten.operators.identity import COPIES, identity
from app.engine.forward.aten.operators.norms import NORMS, norm
from app.engine.forward.aten.operators.products import PRODUCTS, product
from app.engine.forward.aten.rows import Rows
from app.engine.ir.graph import Const, Value

Description = Callable[[Call, Emitter], Any]

_LINEAR: Final[Mapping[str, Description]] = {
    **dict.fromkeys(CONVOLUTIONS, convolution),
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(NORMS, norm),
    **dict.fromkeys(ARITHMETIC, arithmetic),
    **dict.fromkeys(CHANNELS, channels),
}
_SEEDED: Final = torch.Tag.nondeterministic_seeded
_CHANCES: Final = ("dropout_p", "dropout", "p")
_INDEXED: Final = frozenset({"index.Tensor", "_unsafe_index.Tensor"})
# The memory of a value is not followed, so what needs it to lie in order is read as what copies it first if need be.
_RESHAPED: Final = {"view.default": "reshape.default", "_unsafe_view.default": "reshape.default"}


def describe(call: Call, ops: Emitter) -> Any:
    """A value, a constant, or a list of them with None for what is no tensor. Raises UnknownFlow."""
    if isinstance(call.get("self"), Rows):
        return call["self"].value
    tensors = call.tensors()
    constant = all(isinstance(tensor, Const) for tensor in tensors)
    found = creation(call, ops)
    if found is NotImplemented and call.name in COPIES:
        found = identity(call, ops)
    if found is NotImplemented and call.name in _LINEAR and not constant:
        mark = len(ops.nodes)
        found = _LINEAR[call.name](call, ops)
        if found is NotImplemented:
            del ops.nodes[mark:]
    if found is NotImplemented and call.name == "as_strided.default":
        found = _strided(call, ops)
    if found is not NotImplemented:
        return found
    _check_chance(call)
    _check_indices(call, ops)
    return _folded(call, ops) if constant else _applied(call, ops)


def _applied(call: Call, ops: Emitter) -> Any:
    invocation, tensors = _reshaped(call).invocation(ops.constants.like)
    shown = call.name.partition(".")[0]
    if call.name in ELEMENTWISE:
        return ops.elementwise(shown, invocation, tensors)
    if len(call.overload._schema.returns) == 1 and str(call.overload._schema.returns[0].type) == "Tensor":
        return ops.call(shown, invocation, tensors, call.name in SHAPES)
    return ops.call_many(shown, invocation, tensors, call.name in SHAPES)


def _folded(call: Call, ops: Emitter) -> Any:
    invocation, tensors = _reshaped(call).invocation(ops.constants.like)
    parts = [tensor for tensor in tensors if isinstance(tensor, Const)]
    try:
        found = ops.constants.fold(invocation, parts, call.owner, call.varies)
    except MISFITS as error:
        raise unread(call.owner, "shapes-differ", f"aten::{call.name}: {str(error).splitlines()[0][:300]}") from error
    return found


def _reshaped(call: Call) -> Call:
    if call.name not in _RESHAPED:
        return call
    arguments = {"self": call["self"], "shape": call["size"]}
    return Call("reshape.default", call.owner, torch.ops.aten.reshape.default, arguments, {}, call.varies, call.place)


def _strided(call: Call, ops: Emitter) -> Any:
    """A view by memory: known where the file says that the memory is in order."""
    if not call.place.in_order:
        raise unread(call.owner, "operator-not-read", "aten::as_strided of a tensor whose memory is not in order")
    size, stride, offset = call["size"], call["stride"], call["storage_offset"] or 0
    view = Invocation(_as_strided, (Hole(0), size, stride, offset), {})
    x = call["self"]
    return ops.call("as_strided", view, [x]) if isinstance(x, Value) else ops.constants.fold(view, [x], call.owner)


def _as_strided(x: torch.Tensor, size: list[int], stride: list[int], offset: int) -> torch.Tensor:
    return x.contiguous().as_strided(size, stride, offset)


def _check_chance(call: Call) -> None:
    """Some operators draw random numbers if they are told to."""
    drawn = _SEEDED in call.overload.tags and call.get("train", True)
    if drawn and any(call[chance] for chance in _CHANCES if chance in call):
        raise unread(call.owner, "random", f"aten::{call.name} draws random numbers in training mode")


def _check_indices(call: Call, ops: Emitter) -> None:
    """Some results have a shape that depends on the numbers."""
    masks = [part for part in call["indices"] if part is not None] if call.name in _INDEXED else []
    by_mask = any(ops.dtype(mask) in (torch.bool, torch.uint8) for mask in masks)
    counted = call.name == "one_hot.default" and call["num_classes"] < 0
    if by_mask or counted:
        raise unread(call.owner, "size-of-values", f"how much aten::{call.name} gives depends on the values")
