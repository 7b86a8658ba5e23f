"""EfficientViT of MSRA: attention head after head, each on its own channels; arXiv 2305.07027, figure 3."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place
from app.engine.forward.timm.hybrids.attention import biased_fits, scores, weighed
from app.engine.forward.timm.hybrids.windows import whole, windows
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_CONV_NORM = "timm.models.efficientvit_msra.ConvNorm"


def residual(block: Block, x: Value, ops: Ops) -> Value:
    return ops.add(x, block.m(x))


def around_convolution(module: Module) -> bool:
    """x plus a depthwise convolution of x, in its training form, is one convolution."""
    inner = module.child("m")
    return inner is not None and inner.class_path == _CONV_NORM


def cascaded_attention(block: Block, x: Value, ops: Ops) -> Any:
    """Each head attends to its share of the channels plus what the head before it gave; section 2.2."""
    heads = len(block.qkvs)
    shares = [ops.apply("share", share, x, heads, head) for head in range(heads)]
    parts: list[Any] = []
    for head, (qkv, depthwise) in enumerate(zip(block.qkvs, block.dws, strict=True)):
        fed = ops.add(parts[-1], shares[head]) if parts else shares[head]
        parts.append(_one_head(block, head, qkv(fed), depthwise, ops))
    return block.proj(ops.concat(parts))


def _one_head(block: Block, head: int, qkv: Value, depthwise: Block, ops: Ops) -> Value:
    widths = block.key_dim, block.key_dim, block.val_dim
    q, k, v = (ops.apply("part", part, qkv, widths, which) for which in range(3))
    return ops.apply("attention", attend, depthwise(q), k, v, head, *scores(block))


def share(x: Tensor, heads: int, which: int) -> Tensor:
    return x.chunk(heads, 1)[which]


def part(qkv: Tensor, widths: tuple[int, int, int], which: int) -> Tensor:
    return torch.split(qkv, list(widths), 1)[which]


def attend(q: Tensor, k: Tensor, v: Tensor, head: int, scale: float, biases: Tensor, index: Tensor) -> Tensor:
    """One head over maps."""
    sizes = v.shape[2:]
    q, k, v = (tokens_of(x) for x in (q, k, v))
    return map_of(weighed(q, k, v, scale, biases[head][index]), sizes)


def window_attention(block: Block, x: Value, ops: Ops) -> Any:
    """In windows, unless the map is one window."""
    side = block.attn.module.attribute("resolution", None)
    if x.shape[2:] == (side, side):
        return block.attn(x)
    return ops.apply("map", whole, block.attn(ops.apply("windows", windows, x, side)), x.shape[2:])


def _window_fits(module: Module) -> bool:
    inner = module.child("attn")
    side = inner.attribute("resolution", None) if inner is not None else None
    return type(side) is int and side > 0


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.efficientvit_msra.{name}",)


FAMILIES = (
    Family(
        "timm EfficientViT residual convolution",
        _path("ResidualDrop"),
        residual,
        around_convolution,
        deploy=replace(in_its_place("m"), renames=True),
        example_shapes=maps(),
    ),
    Family("timm EfficientViT ResidualDrop", _path("ResidualDrop"), residual, lambda module: has_children(module, "m")),
    sequence("timm EfficientViT PatchMerging", _path("PatchMerging"), "conv1", "act", "conv2", "act", "se", "conv3"),
    sequence("timm EfficientViT ConvMlp", _path("ConvMlp"), "pw1", "act", "pw2"),
    Family(
        "timm EfficientViT CascadedGroupAttention",
        _path("CascadedGroupAttention"),
        cascaded_attention,
        lambda module: biased_fits(module, "qkvs", "dws", "proj"),
    ),
    Family("timm EfficientViT LocalWindowAttention", _path("LocalWindowAttention"), window_attention, _window_fits),
    sequence("timm EfficientVitBlock", _path("EfficientVitBlock"), "dw0", "ffn0", "mixer", "dw1", "ffn1"),
    sequence("timm EfficientVitStage", _path("EfficientVitStage"), "downsample", "blocks"),
    sequence(
        "timm EfficientViT PatchEmbedding",
        _path("PatchEmbedding"),
        *("conv1", "relu1", "conv2", "relu2", "conv3", "relu3", "conv4"),
    ),
    sequence(
        "timm EfficientViT",
        _path("EfficientVitMsra"),
        *("patch_embed", "stages", "global_pool", "head"),
        examples=images(224, 192),
    ),
)
