"""Ultralytics' attention blocks: YOLOv10's partial self-attention, YOLO12's area attention, and transformer layers."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.csp import halves
from app.engine.forward.ultralytics.naming import described
from app.engine.forward.yolov7.transformer import transformer_block, transformer_layer
from app.engine.ir.graph import Value


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention among pixels, with a depthwise convolution of the values as position term."""
    qkv = block.qkv(x)
    sizes = (block.num_heads, block.key_dim, block.head_dim)
    values = ops.apply("values", values_of, qkv, *sizes)
    mixed = ops.apply("attention", attended, qkv, *sizes, block.scale)
    return block.proj(ops.add(mixed, block.pe(values)))


def _heads(qkv: Tensor, heads: int, key: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """(n, heads * (2 key + width), h, w) to queries, keys and values of (n, heads, channels, h * w)."""
    parts = torch.unflatten(qkv.flatten(2), 1, (heads, 2 * key + width))
    return parts[:, :, :key], parts[:, :, key : 2 * key], parts[:, :, 2 * key :]


def values_of(qkv: Tensor, heads: int, key: int, width: int) -> Tensor:
    """The values as a map."""
    return _as_map(_heads(qkv, heads, key, width)[2], qkv)


def attended(qkv: Tensor, heads: int, key: int, width: int, scale: float) -> Tensor:
    """softmax(q k * scale) v as a map; arXiv 1706.03762, equation 1."""
    q, k, v = _heads(qkv, heads, key, width)
    weights = torch.softmax((q * scale).transpose(-2, -1) @ k, -1)
    return _as_map(v @ weights.transpose(-2, -1), qkv)


def _as_map(tokens: Tensor, like: Tensor) -> Tensor:
    return torch.unflatten(tokens.flatten(1, 2), 2, tuple(like.shape[2:]))


def psa_block(block: Block, x: Value, ops: Ops) -> Value:
    """Attention and a feed-forward pair, each with a shortcut unless the block has none."""
    for part in (block.attn, block.ffn):
        y = part(x)
        x = ops.add(x, y) if block.add else y
    return x


def psa(block: Block, x: Value, ops: Ops) -> Any:
    """Partial self-attention: half of the channels go through it; YOLOv10, arXiv 2405.14458, figure 3 (c)."""
    past, mixed = halves(block.cv1(x), ops)
    mixed = ops.add(mixed, block.attn(mixed))
    mixed = ops.add(mixed, block.ffn(mixed))
    return block.cv2(ops.concat([past, mixed]))


def c2psa(block: Block, x: Value, ops: Ops) -> Any:
    """One half past, the other through a chain of attention blocks."""
    past, mixed = halves(block.cv1(x), ops)
    return block.cv2(ops.concat([past, block.m(mixed)]))


def area_attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention within horizontal areas of the map; YOLOv12, arXiv 2502.12524, figure 2."""
    qkv = block.qkv(x)
    sizes = (block.num_heads, block.head_dim, block.area)
    values = ops.apply("values", area_values, qkv, *sizes)
    mixed = ops.apply("area_attention", attended_in_areas, qkv, *sizes)
    return block.proj(ops.add(mixed, block.pe(values)))


def _areas(qkv: Tensor, heads: int, width: int, areas: int) -> Tensor:
    """(n, heads * 3 width, h, w) to (n, heads, areas, 3 width, h * w / areas)."""
    parts = torch.unflatten(qkv.flatten(2), 1, (heads, 3 * width))
    return torch.unflatten(parts, 3, (areas, -1)).transpose(2, 3)


def area_values(qkv: Tensor, heads: int, width: int, areas: int) -> Tensor:
    return _areas_as_map(_areas(qkv, heads, width, areas)[:, :, :, 2 * width :], qkv)


def attended_in_areas(qkv: Tensor, heads: int, width: int, areas: int) -> Tensor:
    parts = _areas(qkv, heads, width, areas)
    q, k, v = parts[:, :, :, :width], parts[:, :, :, width : 2 * width], parts[:, :, :, 2 * width :]
    weights = torch.softmax((q * width**-0.5).transpose(-2, -1) @ k, -1)
    return _areas_as_map(v @ weights.transpose(-2, -1), qkv)


def _areas_as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(n, heads, areas, width, pixels) to (n, heads * width, h, w)."""
    pixels = tokens.transpose(2, 3).flatten(3).flatten(1, 2)
    return torch.unflatten(pixels, 2, tuple(like.shape[2:]))


def area_block(block: Block, x: Value, ops: Ops) -> Value:
    x = ops.add(x, block.attn(x))
    return ops.add(x, block.mlp(x))


def area_stage(block: Block, x: Value, ops: Ops) -> Value:
    """Residual efficient layer aggregation, the shortcut with a factor per channel; arXiv 2502.12524, figure 3 (d)."""
    maps = [block.cv1(x)]
    for inner in block.m:
        maps.append(inner(maps[-1]))
    y: Value = block.cv2(ops.concat(maps))
    return y if block.find("gamma") is None else ops.add(x, ops.scale(y, block.gamma))


FAMILIES = (
    *described(attention, ("qkv", "proj", "pe"), "block", "Attention"),
    *described(psa_block, ("attn", "ffn"), "block", "PSABlock"),
    *described(psa, ("cv1", "cv2", "attn", "ffn"), "block", "PSA"),
    *described(c2psa, ("cv1", "cv2", "m"), "block", "C2PSA"),
    *described(area_attention, ("qkv", "proj", "pe"), "block", "AAttn", multiple=4),
    *described(area_block, ("attn", "mlp"), "block", "ABlock", multiple=4),
    *described(area_stage, ("cv1", "cv2", "m"), "block", "A2C2f", multiple=4),
    *described(transformer_layer, ("q", "k", "v", "ma", "fc1", "fc2"), "transformer", "TransformerLayer"),
    *described(transformer_block, ("linear", "tr"), "transformer", "TransformerBlock"),
)
