"""EfficientFormerV2 as its authors publish it: talking heads beside a local path; arXiv 2212.08059, figure 2."""

from functools import partial
from typing import Any

import torch

from app.engine.forward.averaged import commutes
from app.engine.forward.family import Family, Shapes
from app.engine.forward.images import images
from app.engine.forward.mobile.heads import joined_heads, joined_heads_form
from app.engine.forward.mobile.hybrids.efficientformer import NET_MEMBERS, family, is_embedding, net_fits, stages
from app.engine.forward.mobile.hybrids.scaled import beside, scaled_form, scales_fit
from app.engine.forward.mobile.levit import BIASES, ONCE_MORE
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.steps import steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.hybrids.attention import biased_fits, scores
from app.engine.forward.timm.hybrids.efficientformer_v2 import attend_from, biased_scores, mix
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_WIDTHS = ("num_heads", "scale", "key_dim", "nh_kd", "resolution", "N", "N2", "d", "dh", "attn_ratio")
_PATHS = ("q", "k", "v", "v_local", "proj")
_TALKING = ("stride_conv", "upsample", "talking_head1", "talking_head2")
_FACTORS = ("layer_scale_1", "layer_scale_2")
_MIXED = ("token_mixer.proj.1", ("token_mixer.proj.2",), _FACTORS[0])
_WIDENED = ("mlp.fc2", ("mlp.norm2",), _FACTORS[1])
_MOST = 1024  # pixels along a side of the image; a larger one is not tried


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 2(e): 1x1 convolutions mix the heads before and after the softmax, a local path beside it."""
    x = through(block, x, "stride_conv?")
    q, k, v = block.q(x), block.k(x), block.v(x)
    logits = block.talking_head1(ops.apply("scores", biased_scores, q, k, block.num_heads, *scores(block)))
    weights = block.talking_head2(ops.apply("softmax", torch.softmax, logits, -1))
    with ops.outside():
        mixed = ops.add(ops.apply("attention", mix, weights, v), block.v_local(v))
    return through(block, mixed, "upsample?", "proj")


def attention_downsample(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 2(f): queries of half the size, keys and values of the whole map."""
    q, k, v = block.q(x), block.k(x), block.v(x)
    local = block.v_local(v)
    attended = ops.apply("attention", attend_from, q, k, v, block.num_heads, *scores(block))
    return block.proj(ops.add(attended, local))


def local_global_query(block: Block, x: Value, ops: Ops) -> Any:
    """A strided depthwise convolution plus every second position, projected: two calls in the class's own code."""
    return block.proj(ops.apply("add", torch.add, block.local(x), block.pool(x)))


def embedding(block: Block, x: Value, ops: Ops) -> Any:
    """What halves the map: a convolution, two paths of them, or one beside attention."""
    if block.light:
        return ops.add(block.new_proj(x), block.skip(x))
    if block.asub:
        return ops.add(block.attn(x), through(block, x, "conv", "bn"))
    return through(block, x, "proj", "norm")


def mlp(block: Block, x: Value, ops: Ops) -> Any:
    """An inverted bottleneck, with a depthwise convolution in the middle or without."""
    middle = ("mid", "mid_norm", "act") if block.mid_conv else ()
    return through(block, x, "fc1", "norm1", "act", *middle, "drop", "fc2", "norm2", "drop")


def mixing_block(block: Block, x: Value, ops: Ops) -> Any:
    """Attention, where the block has it, then the MLP."""
    if block.find("token_mixer") is not None:
        x = beside(block, x, block.token_mixer(x), _FACTORS[0], ops)
    return beside(block, x, block.mlp(x), _FACTORS[1], ops)


def net(block: Block, image: Value, ops: Ops) -> Any:
    """A norm of the last map, written down behind the map's mean, with which it commutes."""
    x = block.patch_embed(image)
    for part in block.network:
        x = part(x)
    norm = block.norm
    moved = commutes(norm.module)
    x = x if moved else norm(x)
    mean = ops.apply("mean", torch.mean, ops.apply("flatten", torch.flatten, x, 2), -1)
    return joined_heads(block, normed_tokens(norm, mean, ops) if moved else mean, ops)


def _image(module: Module) -> Shapes | None:
    """The one size that the attention's biases allow; without attention, the usual one."""
    side, stride = 0, 4
    for part in stages(module):
        for inner in part.walk():
            resolution = inner.attribute("resolution", None) if inner.tensor(BIASES[1]) is not None else None
            if type(resolution) is int:
                side = resolution * stride * (2 if inner.child("stride_conv") is not None else 1)
        if is_embedding(part):
            if part.child("attn") is not None:
                break  # its map is that of the stage, not a part of it
            stride *= 2
    if side == 0:
        return images()(module)
    return images(side, side)(module) if 0 < side <= _MOST else None


def _embedding_fits(module: Module) -> bool:
    light, halves = (module.attribute(name, None) for name in ("light", "asub"))
    if type(light) is not bool or type(halves) is not bool:
        return False
    return steps_fit(*(("new_proj", "skip") if light else ("attn", "conv", "bn") if halves else ("proj", "norm")))(
        module
    )


def _mlp_fits(module: Module) -> bool:
    middle = module.attribute("mid_conv", None)
    names = ("mid", "mid_norm") if middle is True else ()
    return type(middle) is bool and steps_fit("fc1", "norm1", "act", "drop", "fc2", "norm2", *names)(module)


_family = partial(family, "EfficientFormerV2", "efficientformer_v2")

FAMILIES = (
    _family(
        "Attention4D",
        attention,
        lambda module: biased_fits(module, *_PATHS, "talking_head1", "talking_head2"),
        *(*_WIDTHS, *_PATHS, *_TALKING, *BIASES),
        idle=(ONCE_MORE,),
    ),
    _family(
        "LGQuery",
        local_global_query,
        steps_fit("pool", "local", "proj"),
        *("resolution1", "resolution2", "pool", "local", "proj"),
        examples=maps(),
    ),
    _family(
        "Attention4DDownsample",
        attention_downsample,
        lambda module: biased_fits(module, *_PATHS),
        *(*_WIDTHS, *_PATHS, "out_dim", "resolution2", *BIASES),
        idle=(ONCE_MORE,),
    ),
    _family(
        "Embedding",
        embedding,
        _embedding_fits,
        *("light", "asub"),
        sometimes=("new_proj", "skip", "attn", "conv", "bn", "proj", "norm"),
        examples=lambda module: None if module.attribute("asub", True) else maps(2)(module),
    ),
    _family(
        "Mlp",
        mlp,
        _mlp_fits,
        *("mid_conv", "fc1", "act", "fc2", "drop", "norm1", "norm2"),
        sometimes=("mid", "mid_norm"),
        examples=maps(),
    ),
    _family(
        "AttnFFN",
        mixing_block,
        lambda module: scales_fit(module) and has_children(module, "token_mixer", "mlp"),
        *("token_mixer", "mlp", "drop_path", "use_layer_scale"),
        sometimes=_FACTORS,
        deploy=scaled_form(_MIXED, _WIDENED),
    ),
    _family(
        "FFN",
        mixing_block,
        lambda module: scales_fit(module) and steps_fit("mlp", "drop_path")(module),
        *("mlp", "drop_path", "use_layer_scale"),
        sometimes=_FACTORS[1:],
        deploy=scaled_form(_WIDENED),
        examples=maps(),
    ),
    Family(
        "EfficientFormerV2",
        ("models.efficientformer_v2.EfficientFormerV2", "efficientformer_v2.EfficientFormerV2"),
        net,
        net_fits,
        deploy=joined_heads_form("norm"),
        example_shapes=_image,
        members=NET_MEMBERS,
    ),
)
