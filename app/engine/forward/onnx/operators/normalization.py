"""Normalisations. Those over the last dimension are split, so that their scale and shift are there to be folded."""

from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.reference import by_reference
from app.engine.ir.graph import Const, Value


def _batch_norm_linear(call: Call) -> Results | None:
    x, parts = call.need(0), tuple(call.need(index) for index in range(1, 5))
    if not isinstance(x, Value) or not is_float(call) or call.attribute("training_mode", 0) or call.outputs > 1:
        return None
    consts = [part for part in parts if isinstance(part, Const) and not part.varies]
    if len(consts) < 4 or len(x.shape) < 2:
        return None
    scale, bias, mean, var = consts
    return call.ops.batch_norm(x, mean, var, scale, bias, call.attribute("epsilon", 1e-5))


def _batch_norm(call: Call) -> Tensors:
    if call.attribute("training_mode", 0) or call.outputs > 1:
        return by_reference(call)
    eps = call.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, scale, bias, training=False, eps=eps)

    return Tensors(run, call.inputs)


def _instance_norm(call: Call) -> Tensors:
    eps = call.attribute("epsilon", 1e-5)
    dims = tuple(range(2, len(call.shape(0))))

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        mean, var = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
        along = (1, -1, *(1,) * len(dims))
        return (x - mean) / torch.sqrt(var + eps) * scale.reshape(along) + bias.reshape(along)

    return Tensors(run, call.inputs)


def _centred(eps: float, first: int, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + eps) over the dimensions from `first` on."""
    return F.layer_norm(x, x.shape[first:], eps=eps)


def _root_mean_square(eps: float, first: int, x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the dimensions from `first` on; half precision is summed in float32."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = wide.square().mean(tuple(range(first, x.ndim)), keepdim=True)
    return (wide / torch.sqrt(mean + eps)).to(x.dtype)


_NORMALISE: Final = {"LayerNormalization": _centred, "RMSNormalization": _root_mean_square}


def _last_dim_linear(call: Call) -> Results | None:
    x, scale, bias = call.need(0), call.need(1), call.get(2)
    if not isinstance(x, Value) or not is_float(call) or call.outputs > 1:
        return None
    rank = len(x.shape)
    if call.axis(call.attribute("axis", -1), rank) != rank - 1 or not (call.settled(1) and call.settled(2)):
        return None
    along = ((1,) * ahead + size for ahead in range(rank) for size in ((x.shape[-1],), (1,)))
    if not {part.shape for part in (scale, bias) if part is not None} <= set(along):
        return None
    assert isinstance(scale, Const)
    normalise = partial(_NORMALISE[call.name], call.attribute("epsilon", 1e-5), rank - 1)
    normalised = call.ops.keeping(call.name, normalise, x)
    assert isinstance(normalised, Value)
    # A scale of ones is how a file says that there is none, where it was folded before.
    plain = bool((scale.value(None) == 1).all())
    scaled = normalised if plain else call.ops.scale(normalised, scale, rank - 1)
    return call.ops.shift(scaled, bias, rank - 1) if isinstance(bias, Const) else scaled


def _layer_norm(call: Call) -> Tensors:
    if call.outputs > 1:
        return by_reference(call)
    rank = len(call.shape(0))
    first = call.axis(call.attribute("axis", -1), rank)
    normalise = partial(_NORMALISE[call.name], call.attribute("epsilon", 1e-5), first)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        scaled = normalise(x) * scale
        return scaled if bias is None else scaled + bias

    return Tensors(run, call.inputs)


def _group_norm(call: Call) -> Tensors:
    """Before opset 21 scale and bias are one number a group, then one a channel."""
    groups, eps = call.attribute("num_groups"), call.attribute("epsilon", 1e-5)
    channels = call.shape(0)[1]

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        each = channels // scale.numel()
        return F.group_norm(x, groups, scale.repeat_interleave(each), bias.repeat_interleave(each), eps)

    return Tensors(run, call.inputs)


def _mean_variance(call: Call) -> Tensors:
    """(x - mean) / (std + 1e-9), the variance as E[x^2] - E[x]^2 (the operator's function body)."""
    axes = call.ints("axes") or (0, 2, 3)

    def run(x: Tensor) -> Tensor:
        mean = x.mean(axes, keepdim=True)
        std = torch.sqrt(x.square().mean(axes, keepdim=True) - mean.square())
        return (x - mean) / (std + 1e-9)

    return Tensors(run, call.inputs)


def _local_response(call: Call) -> Tensors:
    """x / (bias + alpha / size * sum of squares over `size` channels around)^beta; Krizhevsky et al. 2012, 3.3."""
    size, bias = call.attribute("size"), call.attribute("bias", 1.0)
    alpha, beta = call.attribute("alpha", 1e-4), call.attribute("beta", 0.75)

    def run(x: Tensor) -> Tensor:
        around = F.pad(x.square().movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(-1, size, 1).sum(-1)
        return x / torch.pow(bias + alpha / size * around.movedim(-1, 1), beta)

    return Tensors(run, call.inputs)


OPERATORS: Final[dict[str, Operator]] = {
    "BatchNormalization": Operator(_batch_norm, _batch_norm_linear),
    "InstanceNormalization": Operator(_instance_norm),
    "LayerNormalization": Operator(_layer_norm, _last_dim_linear),
    "RMSNormalization": Operator(_layer_norm, _last_dim_linear),
    "GroupNormalization": Operator(_group_norm),
    "LRN": Operator(_local_response),
    "MeanVarianceNormalization": Operator(_mean_variance),
}
# Operators whose last nodes may go while the first stays.
PARTIAL: Final = frozenset(_NORMALISE)
