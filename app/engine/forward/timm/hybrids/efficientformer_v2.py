"""EfficientFormerV2: attention of maps with talking heads and a local path; arXiv 2212.08059, figure 2."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Shapes
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.hybrids.attention import biased_fits, of_map, scores, to_tokens, weighed
from app.engine.forward.timm.hybrids.heads import HEADS_BEHIND_NORM, halves, heads_behind_norm, pools_or_not
from app.engine.forward.timm.nets.fastvit import map_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MLP = ("mlp", "ls2", "drop_path2")
_MIXER = ("token_mixer", "ls1", "drop_path1")
_HEADS = ("q", "k", "v", "v_local", "proj", "act")


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 2(e): 1x1 convolutions mix the heads before and after the softmax, a local path beside it."""
    x = through(block, x, "stride_conv?")
    q, k, v = block.q(x), block.k(x), block.v(x)
    logits = block.talking_head1(ops.apply("scores", biased_scores, q, k, block.num_heads, *scores(block)))
    weights = block.talking_head2(ops.apply("softmax", torch.softmax, logits, -1))
    mixed = ops.add(ops.apply("attention", mix, weights, v), block.v_local(v))
    return through(block, mixed, "upsample?", "act", "proj")


def biased_scores(q: Tensor, k: Tensor, heads: int, scale: float, biases: Tensor, index: Tensor) -> Tensor:
    return (of_map(q, heads) @ of_map(k, heads).transpose(2, 3)) * scale + biases[:, index]


def mix(weights: Tensor, v: Tensor) -> Tensor:
    return map_of(to_tokens(weights @ of_map(v, weights.shape[1])), v.shape[2:])


def attention_downsample(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 2(f): queries of half the size, keys and values of the whole map."""
    q, k, v = block.q(x), block.k(x), block.v(x)
    local = block.v_local(v)
    attended = ops.apply("attention", attend_from, q, k, v, block.num_heads, *scores(block))
    return through(block, ops.add(attended, local), "act", "proj")


def attend_from(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, biases: Tensor, index: Tensor) -> Tensor:
    mixed = weighed(of_map(q, heads), of_map(k, heads), of_map(v, heads), scale, biases[:, index])
    return map_of(to_tokens(mixed), q.shape[2:])


def local_global_query(block: Block, x: Value, ops: Ops) -> Any:
    """A strided depthwise convolution plus every second position, projected: two calls in the class's own code."""
    return block.proj(ops.apply("add", torch.add, block.local(x), block.pool(x)))


def downsample(block: Block, x: Value, ops: Ops) -> Any:
    y = block.conv(x)
    return y if block.find("attn") is None else ops.add(block.attn(x), y)


def mixing_block(block: Block, x: Value, ops: Ops) -> Any:
    parts = (_MLP,) if block.find("token_mixer") is None else (_MIXER, _MLP)
    return halves(*parts)(block, x, ops)


def net(block: Block, image: Value, ops: Ops) -> Any:
    return heads_behind_norm(block, block.stages(block.stem(image)), ops)


def _net_fits(module: Module) -> bool:
    return has_children(module, "stem", "stages", "norm", "head_drop", "head") and pools_or_not(module)


def _image(module: Module) -> Shapes | None:
    """The one size that the attention's biases allow: 32 times the last map, which an attention tells."""
    last = None
    for part in module.walk():
        last = part.attribute("resolution2", part.attribute("resolution", last))
    usable = isinstance(last, tuple) and len(last) == 2 and all(type(s) is int and 0 < s <= 32 for s in last)
    return images(last[0] * 32, last[1] * 32)(module) if usable and last is not None else None


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.efficientformer_v2.{name}",)


FAMILIES = (
    sequence("timm EfficientFormerV2 ConvNorm", _path("ConvNorm"), "conv", "bn"),
    Family(
        "timm EfficientFormerV2 Attention2d",
        _path("Attention2d"),
        attention,
        lambda module: biased_fits(module, *_HEADS, "talking_head1", "talking_head2"),
    ),
    Family(
        "timm EfficientFormerV2 LocalGlobalQuery",
        _path("LocalGlobalQuery"),
        local_global_query,
        steps_fit("pool", "local", "proj"),
        example_shapes=maps(),
    ),
    Family(
        "timm EfficientFormerV2 Attention2dDownsample",
        _path("Attention2dDownsample"),
        attention_downsample,
        lambda module: biased_fits(module, *_HEADS),
    ),
    Family("timm EfficientFormerV2 Downsample", _path("Downsample"), downsample, steps_fit("conv", "attn?")),
    sequence("timm EfficientFormerV2 ConvMlpWithNorm", _path("ConvMlpWithNorm"), "fc1", "mid", "drop1", "fc2", "drop2"),
    Family(
        "timm EfficientFormerV2Block",
        _path("EfficientFormerV2Block"),
        mixing_block,
        steps_fit(*(f"{name}?" for name in _MIXER), *_MLP),
    ),
    sequence("timm EfficientFormerV2 Stem4", _path("Stem4"), "conv1", "conv2"),
    sequence("timm EfficientFormerV2Stage", _path("EfficientFormerV2Stage"), "downsample", "blocks"),
    Family(
        "timm EfficientFormerV2",
        _path("EfficientFormerV2"),
        net,
        _net_fits,
        deploy=HEADS_BEHIND_NORM,
        example_shapes=_image,
    ),
)
