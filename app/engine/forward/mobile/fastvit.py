"""FastViT and MobileCLIP's image tower as their authors publish them; arXiv 2303.14189 and 2311.17049."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Members, Shapes
from app.engine.forward.images import images
from app.engine.forward.replknet.large_kernel import LARGE_KERNEL_FORM
from app.engine.forward.stochastic_depth import kept
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.branches import deployed, reparam_form, total
from app.engine.forward.timm.nets.fastvit import conv_mlp
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_NET = ("models.fastvit", "mobileclip.models.mci")
_BLOCK = ("models.modules.mobileone", "mobileclip.modules.common.mobileone")
_GEOMETRY = ("groups", "stride", "padding", "dilation", "kernel_size", "in_channels", "out_channels")
_BRANCHES = ("rbr_conv", "rbr_scale", "rbr_skip")


def mobileone_block(block: Block, x: Value, ops: Ops) -> Any:
    """activation(se(the sum of the branches that are there)): the norm of a RepMixer has but one."""
    if block.inference_mode:
        return block.activation(block.se(block.reparam_conv(x)))
    parts = [branch(x) for branch in (block.rbr_scale, block.rbr_skip) if branch is not None]
    if block.rbr_conv is not None:
        parts += [block.rbr_conv[index](x) for index in range(block.num_conv_branches)]
    return block.activation(block.se(total(block, parts, ops)))


def rep_mixer(block: Block, x: Value, ops: Ops) -> Any:
    """x + scale * (mixer(x) - norm(x)), all of it linear; equation 4 of the paper."""
    if deployed(block.module):
        return block.reparam_conv(x)
    difference = ops.add(block.mixer(x), ops.scale(block.norm(x), literal(torch.tensor([-1.0]))))
    return ops.add(x, _scaled(block, "layer_scale", difference, ops))


def _scaled(block: Block, name: str, x: Value, ops: Ops) -> Value:
    return ops.scale(x, getattr(block, name)) if block.use_layer_scale else x


def positions(block: Block, x: Value, ops: Ops) -> Any:
    """Conditional positional encoding, pe(x) + x; arXiv 2102.10882."""
    return block.reparam_conv(x) if deployed(block.module) else ops.add(block.pe(x), x)


def rep_mixer_block(block: Block, x: Value, ops: Ops) -> Any:
    x = block.token_mixer(x)
    return ops.add(x, kept(block, "drop_path", _scaled(block, "layer_scale", block.convffn(x), ops)))


def attention_block(block: Block, x: Value, ops: Ops) -> Any:
    """Self-attention over the maps' positions and a network at each, beside shortcuts."""
    mixed = _scaled(block, "layer_scale_1", block.token_mixer(block.norm(x)), ops)
    x = ops.add(x, kept(block, "drop_path", mixed))
    return ops.add(x, kept(block, "drop_path", _scaled(block, "layer_scale_2", block.convffn(x), ops)))


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Softmax attention over the positions of a map."""
    qkv = block.qkv(ops.apply("tokens", tokens_of, x))
    mixed = block.proj_drop(block.proj(ops.apply("attention", attend, qkv, block.num_heads, block.scale)))
    return ops.apply("map", map_of, mixed, x.shape[2:])


def tokens_of(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h w, c)"""
    return x.flatten(2).transpose(1, 2)


def map_of(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(n, h w, c) to (n, c, h, w)"""
    return torch.unflatten(x.transpose(1, 2), 2, sizes)


def attend(qkv: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(scale q k') v; the three lie side by side along the channels, heads within each."""
    q, k, v = torch.unflatten(qkv, 2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    attended: Tensor = (torch.softmax((q * scale) @ k.transpose(-2, -1), -1) @ v).transpose(1, 2).flatten(2)
    return attended


def large_kernel(block: Block, x: Value, ops: Ops) -> Any:
    """The sum of a large and a small kernel. FastViT computes an activation of it and passes the sum itself on;
    MobileCLIP's class, which has a gate, passes on the activation."""
    if block.find("lkb_reparam") is not None:
        y = block.lkb_reparam(x)
    else:
        y = block.lkb_origin(x)
        y = ops.add(y, block.small_conv(x)) if block.has("small_conv") else y
    return block.activation(block.se(y)) if block.has("se") else y


def patch_embed(block: Block, x: Any, ops: Ops) -> Any:
    return block.proj(x)


def net(block: Block, x: Any, ops: Ops) -> Any:
    if block.find("fork_feat"):
        raise UnknownFlow(block.module.path, "structure-differs", "fork_feat is set: it gives the maps of all stages")
    x = block.patch_embed(x)
    for stage in block.network:
        x = stage(x)
    x = block.conv_exp(x)
    if block.has("gap"):
        x = ops.apply("flatten", torch.flatten, block.gap(x), 1)
    return block.head(x)


def _branched_fits(module: Module) -> bool:
    if module.attribute("inference_mode", None) is True:
        return has_children(module, "activation", "se", "reparam_conv")
    return has_children(module, "activation", "se") and all(module.has(name) for name in _BRANCHES)


def _large_fits(module: Module) -> bool:
    """An activation that works in place would change the sum that FastViT passes on."""
    activation = module.child("activation")
    if activation is None or (not module.has("se") and activation.attribute("inplace", False) is not False):
        return False
    return has_children(module, "lkb_reparam") or has_children(module, "lkb_origin")


def _either(*training: str) -> Callable[[Module], bool]:
    return lambda module: deployed(module) or has_children(module, *training)


def _scales_fit(*names: str) -> Callable[[Module], bool]:
    return lambda module: type(module.attribute("use_layer_scale", None)) is bool and has_children(module, *names)


def _family(
    name: str,
    describe: Any,
    fits: Callable[[Module], bool],
    always: tuple[str, ...],
    *sometimes: str,
    files: tuple[str, ...] = _NET,
    deploy: DeployForm | None = None,
    examples: Callable[[Module], Shapes | None] | None = None,
    idle: tuple[str, ...] = (),
) -> Family:
    paths = tuple(f"{file}.{name}" for file in files)
    members = Members(always, sometimes)
    return Family(
        f"FastViT {name}",
        paths,
        describe,
        fits,
        deploy=deploy,
        example_shapes=examples or maps(),
        members=members,
        idle=idle,
    )


_SCALED = ("token_mixer", "convffn", "drop_path", "use_layer_scale")

FAMILIES = (
    _family(
        "MobileOneBlock",
        mobileone_block,
        _branched_fits,
        ("inference_mode", "se", "activation", "num_conv_branches", *_GEOMETRY),
        *(*_BRANCHES, "reparam_conv", "id_tensor"),
        files=_BLOCK,
        deploy=reparam_form(*_BRANCHES, inference_mode=True),
    ),
    _family(
        "ReparamLargeKernelConv",
        large_kernel,
        _large_fits,
        ("stride", "groups", "in_channels", "out_channels", "activation", "kernel_size", "small_kernel", "padding"),
        *("se", "lkb_origin", "small_conv", "lkb_reparam"),
        files=("models.modules.replknet", "mobileclip.modules.image.replknet"),
        deploy=LARGE_KERNEL_FORM,
        idle=("activation",),  # the published forward calls it and gives back what it was before
    ),
    _family(
        "RepMixer",
        rep_mixer,
        _either("mixer", "norm"),
        ("dim", "kernel_size", "inference_mode"),
        *("mixer", "norm", "use_layer_scale", "layer_scale", "reparam_conv"),
        deploy=reparam_form("mixer", "norm", "layer_scale", inference_mode=True),
    ),
    _family(
        "RepCPE",
        positions,
        _either("pe"),
        ("spatial_shape", "embed_dim", "in_channels", "groups"),
        *("pe", "reparam_conv"),
        deploy=reparam_form("pe"),
    ),
    _family(
        "ConvFFN",
        conv_mlp,
        lambda module: has_children(module, "conv", "fc1", "act", "fc2", "drop"),
        ("conv", "fc1", "act", "fc2", "drop"),
    ),
    _family("RepMixerBlock", rep_mixer_block, _scales_fit("token_mixer", "convffn"), _SCALED, "layer_scale"),
    _family(
        "AttentionBlock",
        attention_block,
        _scales_fit("norm", "token_mixer", "convffn"),
        ("norm", *_SCALED),
        *("layer_scale_1", "layer_scale_2"),
    ),
    _family(
        "MHSA",
        attention,
        lambda module: has_children(module, "qkv", "proj", "proj_drop"),
        ("head_dim", "num_heads", "scale", "qkv", "attn_drop", "proj", "proj_drop"),
        examples=lambda module: None,
    ),
    _family("PatchEmbed", patch_embed, lambda module: has_children(module, "proj"), ("proj",)),
    _family(
        "FastViT",
        net,
        lambda module: has_children(module, "patch_embed", "network", "conv_exp", "head"),
        ("patch_embed", "network", "conv_exp", "head", "init_cfg"),
        *("num_classes", "fork_feat", "gap", "default_cfg"),
        examples=images(),
    ),
)
