"""Next-ViT: its norms come before what they can fold into; arXiv 2207.05501.

The published `merge_pre_bn` folds a norm into each of the layers that read it; so do these deploy forms.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.averaged import averages, commutes
from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.images import images
from app.engine.forward.norms_of_tokens import normed_tokens, projected
from app.engine.forward.steps import sequence, steps_fit
from app.engine.forward.structure import below, has_children, maps, put, silence
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_PROJECTIONS = ("q", "k", "v")
_HEAD = ("drop", "fc", "flatten")


def conv_block(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 4, left: convolutional attention and an MLP, each beside a shortcut."""
    x = block.patch_embed(x)
    with ops.outside():
        x = ops.add(x, block.attn_drop_path(block.mhca(x)))
    y = block.mlp_drop_path(block.mlp(block.norm(x)))
    with ops.outside():
        return ops.add(x, y)


def transformer_block(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 4, right: attention, then convolutions of a part of the channels, beside it, then an MLP."""
    x = block.patch_embed(x)
    attended = ops.call_as(block.e_mhsa, partial(attention, before=block.norm1), x)
    with ops.outside():
        tokens = block.mhsa_drop_path(attended)
        x = ops.add(x, ops.apply("map", map_of, tokens, x.shape[2:]))
    y = block.projection(x)
    beside = block.mhca_drop_path(block.mhca(y))
    with ops.outside():
        x = ops.concat([x, ops.add(y, beside)])
    y = block.mlp_drop_path(block.mlp(block.norm2(x)))
    with ops.outside():
        return ops.add(x, y)


def attention(block: Block, x: Value, ops: Ops, before: Block | None = None) -> Any:
    """Softmax attention of a map made into tokens, keys and values averaged over stretches of them.

    The norm before it, and the one behind the averaging, act on each channel alone: they are written down once for
    each of the layers that read them, behind the averaging, which commutes with them.
    """
    tokens = ops.apply("tokens", tokens_of, x) if len(x.shape) == 4 else x
    norms = [norm for norm in (before, block.find("norm")) if norm is not None]
    fewer = tokens
    if block.find("sr") is not None:
        pool = block.sr
        across = ops.apply("transpose", torch.transpose, tokens, 1, 2)
        fewer = ops.apply("transpose", torch.transpose, pool(across), 1, 2)
    q = projected(block.q, tokens, [before] if before is not None else [], ops)
    k, v = (projected(layer, fewer, norms, ops) for layer in (block.k, block.v))
    with ops.outside():
        mixed = ops.apply("attention", attend, q, k, v, block.num_heads)
    return block.proj_drop(block.proj(mixed))


def net(block: Block, x: Value, ops: Ops) -> Any:
    """Stages, a norm, and a head that averages the map before its Linear.

    An affine map of each channel commutes with the average: the norm is written down behind it.
    """
    x = block.stages(block.stem(x))
    norm, head = block.norm, block.head
    if not (commutes(norm.module) and _averages(head.module)):
        return head(norm(x))
    return ops.call_as(head, partial(_classified, norm=norm), x)


def _averages(head: Module) -> bool:
    return averages(below(head, "global_pool.pool")) and has_children(head, *_HEAD)


def _classified(head: Block, x: Value, ops: Ops, norm: Block) -> Any:
    pooled = head.global_pool(x)
    if len(pooled.shape) != 2:
        raise UnknownFlow(head.module.path, "structure-differs", "its pool does not leave one number per channel")
    return head.flatten(head.fc(head.drop(normed_tokens(norm, pooled, ops))))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k' / sqrt(d)) v per head over tokens (batch, length, channels)."""
    q, k, v = (torch.unflatten(part, 2, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    scores = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1)
    mixed: Tensor = (scores @ v).transpose(1, 2).flatten(2)
    return mixed


def _form(norm: str, *projections: str) -> DeployForm:
    """As `reparameterize` leaves a block: its norms are identities, and `is_fused` says so."""
    layers = (*(f"e_mhsa.{name}" for name in projections), "mlp.fc1")

    def slots(module: Module) -> tuple[Slot, ...]:
        if module.attribute("is_fused", False):
            return ()
        return tuple(Slot(path, (norm, path) if path == "mlp.fc1" else (path,)) for path in layers)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for path in layers:
            put(module, path, convolutions[path])
        inner = module.child("e_mhsa")
        if inner is not None:
            silence(module, "norm1")
            if inner.child("norm") is not None:
                silence(inner, "norm")
        silence(module, norm)
        module.state["is_fused"] = True

    return DeployForm(slots, write, all_or_nothing=True, absorbs=False, spread=bool(projections))


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.nextvit.{name}",)


FAMILIES = (
    sequence("timm NextViT ConvNormAct", _path("ConvNormAct"), "conv", "norm", "act"),
    sequence("timm NextViT PatchEmbed", _path("PatchEmbed"), "pool", "conv", "norm"),
    sequence("timm NextViT ConvAttention", _path("ConvAttention"), "group_conv3x3", "norm", "act", "projection"),
    Family(
        "timm NextConvBlock",
        _path("NextConvBlock"),
        conv_block,
        steps_fit("patch_embed", "mhca", "attn_drop_path", "norm", "mlp", "mlp_drop_path"),
        deploy=_form("norm"),
        example_shapes=maps(2),
    ),
    Family(
        "timm NextViT EfficientAttention",
        _path("EfficientAttention"),
        attention,
        lambda module: has_children(module, *_PROJECTIONS, "proj", "proj_drop"),
        idle=("scale",),  # that of its width
    ),
    Family(
        "timm NextTransformerBlock",
        _path("NextTransformerBlock"),
        transformer_block,
        lambda module: has_children(module, "patch_embed", "norm1", "e_mhsa", "projection", "mhca", "norm2", "mlp"),
        deploy=_form("norm2", *_PROJECTIONS),
        example_shapes=maps(2),
    ),
    sequence("timm NextStage", _path("NextStage"), "blocks"),
    Family(
        "timm NextViT",
        _path("NextViT"),
        net,
        lambda module: has_children(module, "stem", "stages", "norm", "head"),
        example_shapes=images(256, 256),
    ),
)
