"""Batch norms of tokens, whose channels come last: as a factor and an offset for each channel."""

from functools import partial
from typing import Any

from torch import Tensor

from app.engine.forward.structure import is_batch_norm
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, expression
from app.engine.ir.graph import Const, Value


def normed_tokens(norm: Block, x: Value, ops: Ops) -> Any:
    """The norm of a map, or the identity that is left of it, after the map was made into tokens: channels come last."""
    if is_batch_norm(norm.module):
        return ops.call_as(norm, _norm_of_tokens, x)
    if norm.module.class_path != "torch.nn.modules.linear.Identity":
        raise UnknownFlow(norm.module.path, "structure-differs", "only a batch norm is known in this place")
    return norm(x)


def _norm_of_tokens(norm: Block, x: Value, ops: Ops) -> Value:
    """A batch norm with stored statistics along the last dimension, as factor and offset per channel."""
    return ops.shift(ops.scale(x, norm_factor(norm), axis=len(x.shape) - 1), norm_offset(norm), axis=len(x.shape) - 1)


def projected(layer: Block, tokens: Value, norms: list[Block], ops: Ops) -> Any:
    """The layer behind these norms, whose factors and offsets count as a part of it."""
    for norm in norms:
        ops.call_as(norm, _looked_at, tokens)
        if is_batch_norm(norm.module):
            last = len(tokens.shape) - 1
            with ops.as_part_of(layer):
                tokens = ops.shift(ops.scale(tokens, norm_factor(norm), last), norm_offset(norm), last)
        elif norm.module.class_path != "torch.nn.modules.linear.Identity":
            raise UnknownFlow(norm.module.path, "structure-differs", "only a batch norm is known in this place")
    return layer(tokens)


def _looked_at(norm: Block, x: Value, ops: Ops) -> Value:
    """The norm is called here; what it does is written down where it is read."""
    return x


def norm_factor(norm: Block) -> Const:
    """gamma / sqrt(var + eps)"""
    _check_statistics(norm)
    if norm.find("weight") is None:
        return expression(partial(_factor, eps=norm.eps), norm.running_var)
    return expression(partial(_factor, eps=norm.eps), norm.running_var, norm.weight)


def norm_offset(norm: Block) -> Const:
    """beta - mean * gamma / sqrt(var + eps)"""
    _check_statistics(norm)
    if norm.find("weight") is None or norm.find("bias") is None:
        return expression(partial(_centre, eps=norm.eps), norm.running_mean, norm.running_var)
    parts = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return expression(partial(_offset, eps=norm.eps), *parts)


def _check_statistics(norm: Block) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise UnknownFlow(norm.module.path, "structure-differs", "it keeps no statistics")
    if (norm.find("weight") is None) != (norm.find("bias") is None):
        raise UnknownFlow(norm.module.path, "structure-differs", "it has one of weight and bias")


def _factor(var: Tensor, gamma: Tensor | float = 1.0, *, eps: float) -> Tensor:
    return gamma / (var + eps).sqrt()


def _centre(mean: Tensor, var: Tensor, *, eps: float) -> Tensor:
    return -mean * _factor(var, eps=eps)


def _offset(mean: Tensor, var: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    return beta - mean * _factor(var, gamma, eps=eps)
