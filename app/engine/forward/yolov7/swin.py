"""YOLOv7's Swin transformer blocks, version 1 (arXiv 2103.14030) and 2 (arXiv 2111.09883)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression, literal
from app.engine.ir.graph import Const, Value

_MASKED = -100.0
_LARGEST_SCALE = math.log(100.0)


# --- windows -----------------------------------------------------------------------------------------------------


def padded_pixels(x: Tensor, window: int) -> Tensor:
    """(n, c, h, w) to (n, h', w', c), with zeros at the end up to whole windows."""
    right, bottom = (-size % window for size in (x.shape[3], x.shape[2]))
    return F.pad(x, (0, right, 0, bottom)).permute(0, 2, 3, 1)


def windows_of(x: Tensor, window: int, shift: int) -> Tensor:
    """(n, h, w, c), shifted cyclically, to (n * windows, window², c)."""
    x = x.roll((-shift, -shift), (1, 2))
    tiles = torch.unflatten(torch.unflatten(x, 2, (-1, window)), 1, (-1, window)).transpose(2, 3)
    return tiles.flatten(3, 4).flatten(0, 2)


def joined(windows: Tensor, window: int, shift: int, height: int, width: int) -> Tensor:
    """The inverse of `windows_of`."""
    pixels = torch.unflatten(windows, 1, (window, window))
    tiles = torch.unflatten(pixels, 0, (-1, height // window, width // window))
    return tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2).roll((shift, shift), (1, 2))


def cropped(x: Tensor, height: int, width: int) -> Tensor:
    """(n, h', w', c) to (n, c, h, w)."""
    return x[:, :height, :width].permute(0, 3, 1, 2)


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """(windows, window², window²): -100 between pixels that only the cyclic shift made neighbours, else 0."""

    def side(size: int) -> Tensor:
        place = torch.arange(size)
        return (place >= size - window).float() + (place >= size - shift).float()

    regions = (3 * side(height)[:, None] + side(width)[None, :])[None, :, :, None]
    flat = windows_of(regions, window, 0).squeeze(-1)
    return (flat[:, None, :] != flat[:, :, None]).float() * _MASKED


# --- attention within windows -------------------------------------------------------------------------------------


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(windows, tokens, 3 * width) to three of (windows, heads, tokens, width / heads)."""
    q, k, v = torch.unflatten(qkv, -1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attended(scores: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(scores + bias + mask) v, heads side by side; the mask repeats for each image."""
    scores = scores + bias
    if mask is not None:
        scores = (torch.unflatten(scores, 0, (-1, mask.shape[0])) + mask[:, None]).flatten(0, 1)
    return (torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2)


def _position_bias(table: Tensor, index: Tensor) -> Tensor:
    """(positions, heads) looked up by (tokens, tokens): (heads, tokens, tokens)."""
    return torch.unflatten(table[index.flatten()], 0, tuple(index.shape)).permute(2, 0, 1)


def dot_attention(qkv: Tensor, table: Tensor, index: Tensor, mask: Tensor | None, heads: int, scale: float) -> Tensor:
    """Equation 4 of the first paper."""
    q, k, v = _split(qkv, heads)
    return _attended((q * scale) @ k.transpose(-2, -1), v, _position_bias(table, index), mask)


def cosine_attention(
    qkv: Tensor, table: Tensor, index: Tensor, mask: Tensor | None, heads: int, log_scale: Tensor
) -> Tensor:
    """Equation 2 of the second paper; the temperature is learned, and its inverse at most 100."""
    q, k, v = _split(qkv, heads)
    cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    scale = log_scale.clamp(max=_LARGEST_SCALE).exp()
    return _attended(cosine * scale, v, 16 * torch.sigmoid(_position_bias(table, index)), mask)


def window_attention(block: Block, inputs: Any, ops: Ops) -> Any:
    x, mask = inputs
    mixed = ops.apply(
        "window_attention",
        dot_attention,
        block.qkv(x),
        block.relative_position_bias_table,
        block.relative_position_index,
        mask,
        block.num_heads,
        block.scale,
    )
    return block.proj(mixed)


def window_attention_v2(block: Block, inputs: Any, ops: Ops) -> Any:
    """Queries and values have a bias, keys have none."""
    x, mask = inputs
    bias = None if block.q_bias is None else expression(_query_and_value, block.q_bias, block.v_bias)
    mixed = ops.apply(
        "window_attention",
        cosine_attention,
        ops.linear(x, block.qkv.weight, bias),
        _continuous_bias(block),
        block.relative_position_index,
        mask,
        block.num_heads,
        block.logit_scale,
    )
    return block.proj(mixed)


def _query_and_value(query: Tensor, value: Tensor) -> Tensor:
    return torch.cat((query, torch.zeros_like(value), value))


def _continuous_bias(block: Block) -> Const:
    """A small network of log-spaced relative coordinates; section 3.3 of the second paper."""
    first, _, last = block.cpb_mlp
    return expression(_bias_network, block.relative_coords_table, first.weight, first.bias, last.weight)


def _bias_network(coordinates: Tensor, weight: Tensor, bias: Tensor, last: Tensor) -> Tensor:
    return F.linear(torch.relu(F.linear(coordinates, weight, bias)), last).flatten(0, -2)


# --- layers and blocks --------------------------------------------------------------------------------------------


def mlp(block: Block, x: Value, ops: Ops) -> Any:
    hidden = block.drop(block.act(block.fc1(x)))
    return block.drop(block.fc2(hidden))


def _windowed(block: Block, x: Value, ops: Ops) -> Value:
    """Attention within windows of (n, h, w, c)."""
    height, width = x.shape[1:3]
    window, shift = block.window_size, block.shift_size
    mask = literal(shift_mask(height, width, window, shift)) if shift else None
    mixed = block.attn(ops.apply("windows", windows_of, x, window, shift), mask)
    return ops.apply("join_windows", joined, mixed, window, shift, height, width)


def swin_layer(block: Block, x: Value, ops: Ops) -> Value:
    """Normalise, then mix; figure 3 of the first paper."""
    pixels = ops.apply("pixels", padded_pixels, x, block.window_size)
    pixels = ops.add(pixels, block.drop_path(_windowed(block, block.norm1(pixels), ops)))
    pixels = ops.add(pixels, block.drop_path(block.mlp(block.norm2(pixels))))
    return ops.apply("crop", cropped, pixels, *x.shape[2:])


def swin_layer_v2(block: Block, x: Value, ops: Ops) -> Value:
    """Mix, then normalise; figure 1 of the second paper."""
    pixels = ops.apply("pixels", padded_pixels, x, block.window_size)
    pixels = ops.add(pixels, block.drop_path(block.norm1(_windowed(block, pixels, ops))))
    pixels = ops.add(pixels, block.drop_path(block.norm2(block.mlp(pixels))))
    return ops.apply("crop", cropped, pixels, *x.shape[2:])


def swin_block(block: Block, x: Value, ops: Ops) -> Any:
    if block.conv is not None:
        x = block.conv(x)
    return block.blocks(x)


def _family(name: str, describe: Describe, *children: str, **more: Any) -> Family:
    return Family(
        f"YOLOv7 {name}", (f"models.common.{name}",), describe, lambda module: has_children(module, *children), **more
    )


_LAYER_CHILDREN = ("norm1", "attn", "drop_path", "norm2", "mlp")

FAMILIES = (
    _family("WindowAttention", window_attention, "qkv", "proj", idle=("softmax",)),
    _family("WindowAttention_v2", window_attention_v2, "qkv", "proj", "cpb_mlp", idle=("softmax",)),
    _family("Mlp", mlp, "fc1", "act", "fc2", "drop"),
    _family("Mlp_v2", mlp, "fc1", "act", "fc2", "drop"),
    _family("SwinTransformerLayer", swin_layer, *_LAYER_CHILDREN, example_shapes=maps()),
    _family("SwinTransformerLayer_v2", swin_layer_v2, *_LAYER_CHILDREN, example_shapes=maps()),
    _family("SwinTransformerBlock", swin_block, "blocks", example_shapes=maps()),
    _family("SwinTransformer2Block", swin_block, "blocks", example_shapes=maps()),
)
