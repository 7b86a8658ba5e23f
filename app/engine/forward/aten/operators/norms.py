"""Norms: batch norm at rest is linear; of the others what follows the normalisation is (a factor and an offset)."""

from typing import Any, Final

import torch

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.emitter import Emitter
from app.engine.forward.aten.invocation import Hole, Invocation, taken_apart
from app.engine.ir.graph import Const, Value

_BATCH: Final = frozenset(
    {
        *("batch_norm.default", "cudnn_batch_norm.default", "native_batch_norm.default"),
        "_native_batch_norm_legit_no_training.default",
    }
)
_LAST: Final = {
    "layer_norm.default": ("weight", "bias"),
    "native_layer_norm.default": ("weight", "bias"),
    "rms_norm.default": ("weight",),
}
NORMS: Final = _BATCH | frozenset(_LAST)
_PARTS: Final = ("running_mean", "running_var", "weight", "bias")


def norm(call: Call, ops: Emitter) -> Any:
    """A batch norm at rest, or a normalisation and its affine map; NotImplemented where parts are no constants."""
    return _batch_norm(call, ops) if call.name in _BATCH else _over_last(call, ops)


def _batch_norm(call: Call, ops: Emitter) -> Any:
    x = call["input"]
    parts = [call[part] for part in _PARTS]
    eps = call.get("epsilon", call.get("eps"))
    if _trains(call):
        return _trained(call, eps, ops)
    mean, var, weight, bias = parts
    known = all(part is None or (isinstance(part, Const) and not part.varies) for part in parts)
    if not isinstance(x, Value) or mean is None or var is None or not known or len(x.shape) < 2:
        return NotImplemented
    y = ops.batch_norm(x, mean, var, weight, bias, eps)
    return y if call.name == "batch_norm.default" else [y, None, None, None]


def _trains(call: Call) -> bool:
    return bool(call.get("training", False))


def _trained(call: Call, eps: float, ops: Emitter) -> Any:
    """A batch norm in training mode: by the batch's own statistics, whatever the running ones are."""
    if call.name != "batch_norm.default":
        return NotImplemented
    args = (call["input"], call["weight"], call["bias"], None, None, True, call["momentum"], eps, False)
    held, tensors = taken_apart(torch.ops.aten.batch_norm.default, args, {}, ops.constants.like)
    return ops.call("batch norm by the batch", held, tensors)


def _over_last(call: Call, ops: Emitter) -> Any:
    """y = normalised(x) * weight + bias, the first as a function, the others along the last dimension."""
    x, affine = call["input"], [call[part] for part in _LAST[call.name]]
    if len(call["normalized_shape"]) != 1 or not isinstance(x, Value) or not x.dtype.is_floating_point:
        return NotImplemented
    if not all(part is None or _along_last(part, x, ops) for part in affine) or not any(affine):
        return NotImplemented
    y, last = ops.call(call.name.partition(".")[0], _plain(call), [x]), len(x.shape) - 1
    for part, step in zip(affine, (ops.scale, ops.shift), strict=False):
        y = y if part is None else step(y, part, last)
    return y if call.name != "native_layer_norm.default" else [y, None, None]


def _along_last(part: Any, x: Value, ops: Emitter) -> bool:
    return isinstance(part, Const) and not part.varies and part.shape == x.shape[-1:] and ops.dtype(part) == x.dtype


def _plain(call: Call) -> Invocation:
    """The normalisation alone."""
    shape, eps = call["normalized_shape"], call["eps"]
    if call.name == "rms_norm.default":
        return Invocation(torch.ops.aten.rms_norm.default, (Hole(0), shape, None, eps), {})
    return Invocation(torch.ops.aten.layer_norm.default, (Hole(0), shape, None, None, eps, False), {})
