"""LeViT as its authors publish it; arXiv 2104.01136, section 4."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.mobile.heads import distilled_head, distilled_head_fits
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

BIASES = ("attention_biases", "attention_bias_idxs")
ONCE_MORE = "ab"  # the first by the second, made when the module goes into evaluation
_WIDTHS = ("num_heads", "scale", "key_dim", "nh_kd", "d", "dh", "attn_ratio")


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Softmax attention with a bias per offset between positions, which are the first part of section 4.2."""
    mixed = ops.apply("attention", attend, block.qkv(x), *attention_numbers(block))
    return block.proj(mixed)


def attention_numbers(block: Block) -> tuple[Any, ...]:
    """Heads, widths of keys and values, the scale of the scores, and the biases with their index."""
    return block.num_heads, block.key_dim, block.d, block.scale, *(getattr(block, name) for name in BIASES)


def attend(qkv: Tensor, heads: int, width: int, depth: int, scale: float, biases: Tensor, index: Tensor) -> Tensor:
    """Each head's q, k and v lie side by side."""
    parts = torch.unflatten(qkv, 2, (heads, -1)).permute(0, 2, 1, 3)
    q, k, v = torch.split(parts, [width, width, depth], 3)
    return _weighed(q, k, v, scale, biases[:, index])


def _weighed(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor) -> Tensor:
    """softmax(scale q k' + bias) v of heads (batch, head, token, width), joined to (batch, token, channel)"""
    scores = torch.softmax((q @ k.transpose(-2, -1)) * scale + bias, -1)
    joined: Tensor = (scores @ v).transpose(1, 2).flatten(2)
    return joined


def subsampling_attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention from every second position to all of them, figure 5."""
    keys, queries = block.kv(x), block.q(x)
    mixed = ops.apply("attention", attend_from, queries, keys, *attention_numbers(block))
    return block.proj(mixed)


def attend_from(
    queries: Tensor, kv: Tensor, heads: int, width: int, depth: int, scale: float, biases: Tensor, index: Tensor
) -> Tensor:
    q = torch.unflatten(queries, 2, (heads, width)).permute(0, 2, 1, 3)
    k, v = torch.split(torch.unflatten(kv, 2, (heads, -1)).permute(0, 2, 1, 3), [width, depth], 3)
    return _weighed(q, k, v, scale, biases[:, index])


def subsample(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("subsample", every_nth, x, block.resolution, block.stride)


def every_nth(x: Tensor, side: int, stride: int) -> Tensor:
    """The tokens of every `stride`-th row and column of a square map."""
    return torch.unflatten(x, 1, (side, side))[:, ::stride, ::stride].flatten(1, 2)


def net(block: Block, image: Value, ops: Ops) -> Any:
    x = ops.apply("tokens", tokens_of, block.patch_embed(image))
    return distilled_head(block, ops.apply("mean", torch.mean, block.blocks(x), 1), ops)


def tokens_of(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h w, c)"""
    return x.flatten(2).transpose(1, 2)


def _side(module: Module) -> int | None:
    """Of the image: sixteen times the map's, of which the first attention keeps an index of all pairs."""
    first = next((part for part in module.walk() if part.tensor(BIASES[1]) is not None), None)
    index = first.tensor(BIASES[1]) if first is not None else None
    if index is None or len(index.shape) != 2:
        return None
    side = round(index.shape[1] ** 0.5)
    return 16 * side if side**2 == index.shape[1] and side <= 64 else None


def _net_fits(module: Module) -> bool:
    return has_children(module, "patch_embed", "blocks") and distilled_head_fits(module)


def _examples(module: Module) -> Shapes | None:
    """Square and of one size: the attention keeps a number for each pair of positions."""
    side, taken = _side(module), input_channels(module)
    return None if side is None or taken is None else ((2, taken[0], side, side),)


FAMILIES = (
    Family(
        "LeViT Attention",
        ("levit.Attention",),
        attention,
        lambda module: has_children(module, "qkv", "proj") and module.tensor(BIASES[1]) is not None,
        members=Members((*_WIDTHS, "qkv", "proj", *BIASES), (ONCE_MORE,)),
        idle=(ONCE_MORE,),
    ),
    Family(
        "LeViT Subsample",
        ("levit.Subsample",),
        subsample,
        members=Members(("stride", "resolution")),
    ),
    Family(
        "LeViT AttentionSubsample",
        ("levit.AttentionSubsample",),
        subsampling_attention,
        lambda module: has_children(module, "kv", "q", "proj") and module.tensor(BIASES[1]) is not None,
        members=Members(
            (*_WIDTHS, "kv", "q", "proj", "stride", "resolution", "resolution_", "resolution_2", *BIASES), (ONCE_MORE,)
        ),
        idle=(ONCE_MORE,),
    ),
    Family(
        "LeViT",
        ("levit.LeViT",),
        net,
        _net_fits,
        example_shapes=_examples,
        members=Members(
            ("num_classes", "num_features", "embed_dim", "distillation", "patch_embed", "blocks", "head", "FLOPS"),
            ("head_dist",),
        ),
    ),
)
