"""EfficientFormer: pools as token mixers, then attention over tokens; arXiv 2206.01191, figure 3."""

from typing import Any

import torch

from app.engine.forward.family import Family, Shapes
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit
from app.engine.forward.structure import has_children
from app.engine.forward.timm.hybrids.attention import biased_fits, self_attention
from app.engine.forward.timm.hybrids.heads import averaged_heads, halves, pooled, pools_or_not
from app.engine.forward.timm.nets.fastvit import tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MOST = 64  # positions along a side of the last map; a larger one is not tried
_TOKENS = ("norm1", "token_mixer", "ls1", "drop_path1"), ("norm2", "mlp", "ls2", "drop_path2")
_MAPS = ("token_mixer", "ls1", "drop_path1"), ("mlp", "ls2", "drop_path2")


def flat(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("tokens", tokens_of, x)


def pooling(block: Block, x: Value, ops: Ops) -> Value:
    """pool(x) - x, as the block adds x again; the pool counts no zeros at the border, so it is no convolution."""
    return ops.apply("subtract", torch.sub, block.pool(x), x)


def net(block: Block, image: Value, ops: Ops) -> Any:
    tokens = block.norm(block.stages(block.stem(image)))
    return averaged_heads(block, block.head_drop(pooled(block, tokens, (1,), ops)), ops)


def _net_fits(module: Module) -> bool:
    return has_children(module, "stem", "stages", "norm", "head_drop", "head", "head_dist") and pools_or_not(module)


def _image(module: Module) -> Shapes | None:
    """The one size that the attention's biases allow; without attention, the usual one."""
    index = next((found for part in module.walk() if (found := part.tensor("attention_bias_idxs")) is not None), None)
    if index is None or len(index.shape) != 2:
        return images()(module)
    side = round(index.shape[0] ** 0.5)
    fits = 0 < side <= _MOST and side**2 == index.shape[0]
    return images(side * _stride(module), side * _stride(module))(module) if fits else None


def _stride(module: Module) -> int:
    """Of the last map: the stem's, doubled by each stage that begins with a convolution."""
    stages = module.child("stages")
    parts = [part.child("downsample") for _, part in stages.children()] if stages is not None else []
    return 4 << sum(part is not None and part.child("conv") is not None for part in parts)


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.efficientformer.{name}",)


FAMILIES = (
    sequence("timm EfficientFormer Stem4", _path("Stem4"), "conv1", "norm1", "act1", "conv2", "norm2", "act2"),
    sequence("timm EfficientFormer Downsample", _path("Downsample"), "conv", "norm"),
    Family("timm EfficientFormer Flat", _path("Flat"), flat),
    Family("timm EfficientFormer Pooling", _path("Pooling"), pooling, steps_fit("pool")),
    sequence(
        "timm EfficientFormer ConvMlpWithNorm",
        _path("ConvMlpWithNorm"),
        *("fc1", "norm1", "act", "drop", "fc2", "norm2", "drop"),
    ),
    Family(
        "timm EfficientFormer Attention",
        _path("Attention"),
        self_attention,
        lambda module: biased_fits(module, "qkv", "proj"),
    ),
    Family(
        "timm EfficientFormer MetaBlock1d", _path("MetaBlock1d"), halves(*_TOKENS), steps_fit(*_TOKENS[0], *_TOKENS[1])
    ),
    Family("timm EfficientFormer MetaBlock2d", _path("MetaBlock2d"), halves(*_MAPS), steps_fit(*_MAPS[0], *_MAPS[1])),
    sequence("timm EfficientFormerStage", _path("EfficientFormerStage"), "downsample", "blocks"),
    Family("timm EfficientFormer", _path("EfficientFormer"), net, _net_fits, example_shapes=_image),
)
