"""Attention with a learned bias for each offset between two positions; LeViT (arXiv 2104.01136, section 4.2).

`attention_biases` holds a number per head and offset, `attention_bias_idxs` the offset of each pair of positions.
"""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

BIASES = ("attention_biases", "attention_bias_idxs")


def biased_fits(module: Module, *children: str) -> bool:
    return has_children(module, *children) and all(module.tensor(name) is not None for name in BIASES)


def weighed(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor) -> Tensor:
    """softmax(scale q k' + bias) v, per head; (batch, head, token, width)"""
    return torch.softmax((q @ k.transpose(-2, -1)) * scale + bias, -1) @ v


def of_tokens(x: Tensor, heads: int) -> Tensor:
    """(batch, token, channel) to (batch, head, token, width)"""
    return torch.unflatten(x, 2, (heads, -1)).transpose(1, 2)


def of_map(x: Tensor, heads: int) -> Tensor:
    """(batch, channel, height, width) to (batch, head, token, width)"""
    return torch.unflatten(x.flatten(2), 1, (heads, -1)).transpose(2, 3)


def to_tokens(x: Tensor) -> Tensor:
    """(batch, head, token, width) to (batch, token, channel)"""
    return x.transpose(1, 2).flatten(2)


def attend_tokens(
    qkv: Tensor, heads: int, widths: tuple[int, int, int], scale: float, biases: Tensor, index: Tensor
) -> Tensor:
    """Over tokens; q, k and v of these widths lie side by side within each head."""
    q, k, v = torch.split(of_tokens(qkv, heads), list(widths), 3)
    return to_tokens(weighed(q, k, v, scale, biases[:, index]))


def self_attention(block: Block, x: Value, ops: Ops) -> Any:
    """proj(attention(qkv(x))) over tokens."""
    widths = block.key_dim, block.key_dim, block.val_dim
    attended = ops.apply("attention", attend_tokens, block.qkv(x), block.num_heads, widths, *scores(block))
    return block.proj(attended)


def scores(block: Block) -> tuple[Any, ...]:
    """The scale of the scores, the biases, and which of them each pair of positions takes."""
    return block.scale, *(getattr(block, name) for name in BIASES)
