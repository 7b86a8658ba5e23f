"""UniRepLKNet's layers: channels first and last, norms of both, global response normalisation, a gate."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family, Members
from app.engine.forward.squeeze import mean_of_maps
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def channels_last(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("permute", torch.permute, x, (0, 2, 3, 1))


def channels_first(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("permute", torch.permute, x, (0, 3, 1, 2))


def layer_norm(block: Block, x: Value, ops: Ops) -> Value:
    """Normalises each position over its channels, which are the last dimension or dimension 1."""
    if block.data_format == "channels_last":
        shape = tuple(block.normalized_shape)
        return ops.apply("layer_norm", F.layer_norm, x, shape, block.weight, block.bias, block.eps)
    return ops.apply("layer_norm", norm_of_channels, x, block.weight, block.bias, block.eps)


def norm_of_channels(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    normal = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + eps)
    return normal * weight[:, None, None] + bias[:, None, None]


def response_norm(block: Block, x: Value, ops: Ops) -> Value:
    """Global response normalisation, channels last; arXiv 2301.00808, algorithm 1."""
    y = ops.apply("response_norm", by_response, x, block.gamma)
    return ops.shift(y, block.beta, axis=-1) if block.use_bias else y


def by_response(x: Tensor, gamma: Tensor) -> Tensor:
    """x * (gamma * n + 1), n the norm of each channel's map beside the mean of all channels'."""
    norms = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    response: Tensor = norms / (norms.mean(-1, keepdim=True) + 1e-6)
    return x * (gamma * response + 1)


def se_block(block: Block, x: Value, ops: Ops) -> Value:
    """x * sigmoid(up(nonlinear(down(mean of each map))))"""
    hidden = block.nonlinear(block.down(ops.apply("avg_pool", mean_of_maps, x)))
    gate = ops.pointwise("sigmoid", torch.sigmoid, block.up(hidden))
    return ops.apply("mul", torch.mul, x, gate)


def _norm_fits(module: Module) -> bool:
    known = module.attribute("data_format", None) in ("channels_last", "channels_first")
    return known and isinstance(module.attribute("normalized_shape", None), tuple)


def _family(name: str, describe: Any, fits: Any, members: Members | None) -> Family:
    return Family(f"UniRepLKNet {name}", (f"unireplknet.{name}",), describe, fits, members=members)


def _bare(module: Module) -> bool:
    return not any(module.member_names())


FAMILIES = (
    _family("NCHWtoNHWC", channels_last, _bare, Members(())),
    _family("NHWCtoNCHW", channels_first, _bare, Members(())),
    _family(
        "LayerNorm",
        layer_norm,
        _norm_fits,
        Members(("weight", "bias", "eps", "data_format", "normalized_shape", "reshape_last_to_first")),
    ),
    _family(
        "GRNwithNHWC",
        response_norm,
        lambda module: module.has("gamma") and module.has("use_bias"),
        Members(("gamma", "use_bias"), ("beta",)),
    ),
    _family(
        "SEBlock",
        se_block,
        lambda module: has_children(module, "down", "up", "nonlinear"),
        Members(("down", "up", "input_channels", "nonlinear")),
    ),
)
