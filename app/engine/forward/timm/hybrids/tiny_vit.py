"""TinyViT: inverted bottlenecks, then attention in windows with a depthwise convolution; arXiv 2207.10666, figure 3."""

from typing import Any

import torch

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import residual, sequence, steps_fit, through
from app.engine.forward.timm.hybrids.attention import biased_fits, self_attention
from app.engine.forward.timm.hybrids.windows import whole_of_tokens, windows_of_tokens
from app.engine.forward.timm.nets.fastvit import tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value

_MOVES = ("conv1", "act1", "conv2", "act2", "conv3")


def attention(block: Block, x: Value, ops: Ops) -> Any:
    return self_attention(block, block.norm(x), ops)


def vit_block(block: Block, x: Value, ops: Ops) -> Any:
    """Attention in windows of (n, h, w, c), a convolution, and an MLP of the tokens."""
    sizes, side = x.shape[1:3], block.window_size
    attended = block.attn(ops.apply("windows", windows_of_tokens, x, side))
    x = ops.add(x, block.drop_path1(ops.apply("map", whole_of_tokens, attended, side, sizes)))
    local = block.local_conv(ops.apply("channels_first", torch.movedim, x, 3, 1))
    tokens = ops.apply("tokens", tokens_of, local)
    tokens = ops.add(tokens, block.drop_path2(block.mlp(tokens)))
    return ops.apply("rows", torch.unflatten, tokens, 1, sizes)


def stage(block: Block, x: Value, ops: Ops) -> Any:
    last = ops.apply("channels_last", torch.movedim, block.downsample(x), 1, 3)
    return ops.apply("channels_first", torch.movedim, block.blocks(last), 3, 1)


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.tiny_vit.{name}",)


FAMILIES = (
    sequence("timm TinyViT PatchEmbed", _path("PatchEmbed"), "conv1", "act", "conv2"),
    residual("timm TinyViT MBConv", _path("MBConv"), *_MOVES, "drop_path", after=("act3",)),
    sequence("timm TinyViT PatchMerging", _path("PatchMerging"), *_MOVES),
    sequence("timm TinyViT ConvLayer", _path("ConvLayer"), "blocks"),
    Family(
        "timm TinyViT NormMlp",
        _path("NormMlp"),
        lambda block, x, ops: through(block, x, "norm", "fc1", "act", "drop1", "fc2", "drop2"),
        steps_fit("norm", "fc1", "act", "drop1", "fc2", "drop2"),
    ),
    Family(
        "timm TinyViT Attention",
        _path("Attention"),
        attention,
        lambda module: biased_fits(module, "norm", "qkv", "proj"),
    ),
    Family(
        "timm TinyVitBlock",
        _path("TinyVitBlock"),
        vit_block,
        steps_fit("attn", "drop_path1", "mlp", "drop_path2", "local_conv"),
    ),
    Family("timm TinyVitStage", _path("TinyVitStage"), stage, steps_fit("downsample", "blocks")),
    sequence("timm TinyViT", _path("TinyVit"), "patch_embed", "stages", "head", examples=images()),
)
