"""SHViT: single-head attention over a part of the channels; arXiv 2401.16456, figure 5."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_CONV_NORM = "timm.models.shvit.Conv2dNorm"


def residual(block: Block, x: Value, ops: Ops) -> Value:
    return ops.add(x, block.m(x))


def around_convolution(module: Module) -> bool:
    """x plus a depthwise convolution of x, in its training form, is one convolution."""
    inner = module.child("m")
    return inner is not None and inner.class_path == _CONV_NORM


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention over the first channels; all of them are projected."""
    attended, passed = (ops.apply("part", part, x, block.pdim, which) for which in (0, 1))
    qkv = block.qkv(block.pre_norm(attended))
    return block.proj(ops.concat([ops.apply("attention", attend, qkv, block.qk_dim), passed]))


def part(x: Tensor, width: int, which: int) -> Tensor:
    """The first `width` channels, or the others."""
    return x[:, :width] if which == 0 else x[:, width:]


def attend(qkv: Tensor, width: int) -> Tensor:
    """softmax(q' k / sqrt(d)) v for one head over maps; q and k have `width` channels."""
    flat = qkv.flatten(2)
    q, k, v = flat[:, :width], flat[:, width : 2 * width], flat[:, 2 * width :]
    scores = torch.softmax((q.transpose(1, 2) @ k) * width**-0.5, -1)
    return torch.unflatten(v @ scores.transpose(1, 2), 2, qkv.shape[2:])


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.shvit.{name}",)


FAMILIES = (
    Family(
        "timm SHViT residual convolution",
        _path("Residual"),
        residual,
        around_convolution,
        deploy=in_its_place("m"),
        example_shapes=maps(),
    ),
    Family(
        "timm SHViT Residual",
        _path("Residual"),
        residual,
        lambda module: has_children(module, "m"),
        example_shapes=maps(),
    ),
    sequence("timm SHViT PatchMerging", _path("PatchMerging"), "conv1", "act1", "conv2", "act2", "se", "conv3"),
    sequence("timm SHViT FFN", _path("FFN"), "pw1", "act", "pw2"),
    Family(
        "timm SHViT SHSA",
        _path("SHSA"),
        attention,
        lambda module: has_children(module, "pre_norm", "qkv", "proj"),
        idle=("scale",),  # that of its width
    ),
    sequence("timm SHViT BasicBlock", _path("BasicBlock"), "conv", "mixer", "ffn"),
    sequence("timm SHViT StageBlock", _path("StageBlock"), "downsample", "blocks"),
    sequence(
        "timm SHViT",
        _path("SHViT"),
        *("patch_embed", "stages", "global_pool", "flatten?", "head"),
        examples=images(128, 96),
    ),
)
