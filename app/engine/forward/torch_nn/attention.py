"""torch.nn.MultiheadAttention; arXiv 1706.03762, section 3.2.2."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value


def multihead_attention(block: Block, inputs: Any, ops: Ops) -> tuple[Value, None]:
    """(output, None): the averaged attention weights, torch's second output, are not described."""
    query, key, value = inputs if isinstance(inputs, tuple) else (inputs,) * 3
    if block.find("in_proj_weight") is None:
        raise UnknownFlow(block.module.path, "structure-differs", "keys or values have a width of their own")
    if block.find("bias_k") is not None or block.add_zero_attn:
        raise UnknownFlow(block.module.path, "structure-differs", "it adds a key of its own (bias_k, add_zero_attn)")
    attended = ops.apply(
        "attention",
        attend,
        query,
        key,
        value,
        block.in_proj_weight,
        block.find("in_proj_bias"),
        block.num_heads,
        block.batch_first,
    )
    return ops.linear(attended, block.out_proj.weight, block.out_proj.find("bias")), None


def attend(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None, heads: int, batch_first: bool
) -> Tensor:
    """softmax(q k' / sqrt(d)) v per head, heads side by side.

    Inputs are (length, batch, width), or (batch, length, width) for `batch_first`; weight is (3 * width, width).
    """
    weights = weight.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)

    def heads_of(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        projected = F.linear(x if batch_first else x.transpose(0, 1), w, b)
        return torch.unflatten(projected, -1, (heads, -1)).transpose(1, 2)  # (batch, heads, length, width / heads)

    q, k, v = (heads_of(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    scores = torch.softmax((q / q.shape[-1] ** 0.5) @ k.transpose(-2, -1), -1)
    joined = (scores @ v).transpose(1, 2).flatten(2)
    return joined if batch_first else joined.transpose(0, 1)


FAMILIES = (
    Family(
        "torch.nn MultiheadAttention",
        ("torch.nn.modules.activation.MultiheadAttention",),
        multihead_attention,
        defaults={"batch_first": False, "add_zero_attn": False},
    ),
)
