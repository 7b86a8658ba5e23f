"""Next-ViT as its authors publish it; arXiv 2207.05501, figures 3 and 4.

Its `merge_bn` folds a norm into each of the layers that read it, and skips the norm from then on; we take it out too.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from app.engine.forward.averaged import averages, normed_average
from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.images import images
from app.engine.forward.norms_of_tokens import projected
from app.engine.forward.steps import in_steps, steps_fit, through
from app.engine.forward.structure import has_children, maps, put, silence
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.timm.nets.nextvit import attend
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FILE = "nextvit"
_PROJECTIONS = ("q", "k", "v")
_MLP = ("conv1", "act", "drop", "conv2", "drop")
_CONV_BLOCK = ("patch_embed", "mhca", "attention_path_dropout", "norm", "mlp", "mlp_path_dropout")
_TRANSFORMER_BLOCK = (
    *("patch_embed", "norm1", "e_mhsa", "mhsa_path_dropout"),
    *("projection", "mhca", "mhca_path_dropout", "norm2", "mlp", "mlp_path_dropout"),
)
_FLAG = "is_bn_merged"


def conv_block(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 4, left: convolutional attention and an MLP, each beside a shortcut."""
    x = block.patch_embed(x)
    with ops.outside():
        x = ops.add(x, through(block, x, "mhca", "attention_path_dropout"))
    y = through(block, x, *_unmerged(block, "norm"), "mlp", "mlp_path_dropout")
    with ops.outside():
        return ops.add(x, y)


def transformer_block(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 4, right: attention, then convolutions of a part of the channels, beside it, then an MLP."""
    x = block.patch_embed(x)
    before = [getattr(block, name) for name in _unmerged(block, "norm1")]
    attended = ops.call_as(block.e_mhsa, partial(attention, before=before), x)
    with ops.outside():
        tokens = block.mhsa_path_dropout(attended)
        x = ops.add(x, ops.apply("map", map_of, tokens, x.shape[2:]))
    y = block.projection(x)
    beside = through(block, y, "mhca", "mhca_path_dropout")
    with ops.outside():
        x = ops.concat([x, ops.add(y, beside)])
    y = through(block, x, *_unmerged(block, "norm2"), "mlp", "mlp_path_dropout")
    with ops.outside():
        return ops.add(x, y)


def _unmerged(block: Block, norm: str) -> tuple[str, ...]:
    """The norm, unless it was folded: then it may still be there, and is not called."""
    return () if getattr(block, _FLAG) else (norm,)


def attention(block: Block, x: Value, ops: Ops, before: list[Block]) -> Any:
    """Softmax attention of a map made into tokens, keys and values averaged over stretches of them.

    The norm before it, and the one behind the averaging, act on each channel alone: they are written down once for
    each of the layers that read them, behind the averaging, which commutes with them.
    """
    tokens = fewer = ops.apply("tokens", tokens_of, x)
    norms = before
    if block.sr_ratio > 1:
        across = ops.apply("transpose", torch.transpose, tokens, 1, 2)
        fewer = ops.apply("transpose", torch.transpose, block.sr(across), 1, 2)
        norms = [*before, *(getattr(block, name) for name in _unmerged(block, "norm"))]
    q = projected(block.q, tokens, before, ops)
    k, v = (projected(layer, fewer, norms, ops) for layer in (block.k, block.v))
    with ops.outside():
        mixed = ops.apply("attention", attend, q, k, v, block.num_heads)
    return block.proj_drop(block.proj(mixed))


def net(block: Block, image: Value, ops: Ops) -> Any:
    x = block.features(block.stem(image))
    return block.proj_head(normed_average(block.norm, block.avgpool, x, ops))


def _form(*norms: str) -> DeployForm:
    """As `merge_bn` leaves a block, with identities for the norms that it skips."""
    projections = tuple(f"e_mhsa.{name}" for name in _PROJECTIONS) if "norm1" in norms else ()
    mlp = "mlp.conv1"

    def slots(module: Module) -> tuple[Slot, ...]:
        if module.attribute(_FLAG, False):
            return ()
        return *(Slot(path, (path,)) for path in projections), Slot(mlp, (norms[-1], mlp))

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for path in (*projections, mlp):
            put(module, path, convolutions[path])
        for norm in norms:
            silence(module, norm)
        module.state[_FLAG] = True
        inner = module.child("e_mhsa")
        if inner is not None:
            inner.state[_FLAG] = True
            if inner.child("norm") is not None:
                silence(inner, "norm")

    return DeployForm(slots, write, all_or_nothing=True, absorbs=False, spread=bool(projections))


def _attention_fits(module: Module) -> bool:
    """With the published scale of the scores, which depends on the heads' width alone."""
    scale, heads, width = (module.attribute(name, None) for name in ("scale", "num_heads", "dim"))
    if type(heads) is not int or type(width) is not int or not 0 < heads <= width:
        return False
    pooled = module.attribute("sr_ratio", 1) == 1 or has_children(module, "sr", "norm")
    return scale == (width // heads) ** -0.5 and pooled and has_children(module, *_PROJECTIONS, "proj", "proj_drop")


def _flagged(*children: str) -> Any:
    return lambda module: type(module.attribute(_FLAG, None)) is bool and steps_fit(*children)(module)


def _family(
    name: str,
    describe: Any,
    fits: Any,
    *members: str,
    sometimes: tuple[str, ...] = (),
    deploy: DeployForm | None = None,
    examples: Any = None,
) -> Family:
    return Family(
        f"NextViT {name}",
        (f"{_FILE}.{name}",),
        describe,
        fits,
        deploy=deploy,
        example_shapes=examples or maps(2),
        members=Members(members, sometimes),
    )


def _in_steps(name: str, *steps: str) -> Family:
    return _family(name, in_steps(*steps), steps_fit(*steps), *dict.fromkeys(steps))


FAMILIES = (
    _in_steps("ConvBNReLU", "conv", "norm", "act"),
    _in_steps("PatchEmbed", "avgpool", "conv", "norm"),
    _in_steps("MHCA", "group_conv3x3", "norm", "act", "projection"),
    _in_steps("Mlp", *_MLP),
    _family(
        "NCB",
        conv_block,
        _flagged(*_CONV_BLOCK),
        *("in_channels", "out_channels", _FLAG, *_CONV_BLOCK),
        deploy=_form("norm"),
    ),
    _family(
        "E_MHSA",
        attention,
        _attention_fits,
        *("dim", "out_dim", "num_heads", "scale", *_PROJECTIONS, "proj", "attn_drop", "proj_drop", _FLAG),
        *("sr_ratio", "N_ratio"),
        sometimes=("sr", "norm"),
        examples=lambda module: None,
    ),
    _family(
        "NTB",
        transformer_block,
        _flagged(*_TRANSFORMER_BLOCK),
        *("in_channels", "out_channels", "mix_block_ratio", "mhsa_out_channels", "mhca_out_channels", _FLAG),
        *_TRANSFORMER_BLOCK,
        deploy=_form("norm1", "norm2"),
    ),
    _family(
        "NextViT",
        net,
        lambda module: (
            averages(module.child("avgpool")) and steps_fit("stem", "features", "norm", "avgpool", "proj_head")(module)
        ),
        *("use_checkpoint", "stage_out_channels", "stage_block_types", "stem", "features", "norm", "avgpool"),
        *("proj_head", "stage_out_idx"),
        examples=images(128, 64),
    ),
)
