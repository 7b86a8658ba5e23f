"""FastViT and MobileCLIP's image tower; arXiv 2303.14189."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family
from app.engine.forward.images import images
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.branches import deployed, reparam_form
from app.engine.forward.timm.layers.scale import scaled_tokens
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def rep_mixer(block: Block, x: Value, ops: Ops) -> Any:
    """x + scale(mixer(x) - norm(x)), all of it linear; equation 4 of the paper."""
    if deployed(block.module):
        return block.reparam_conv(x)
    difference = ops.add(block.mixer(x), ops.scale(block.norm(x), literal(torch.tensor([-1.0]))))
    return ops.add(x, block.layer_scale(difference))


def positions(block: Block, x: Value, ops: Ops) -> Any:
    """Conditional positional encoding, pos_enc(x) + x; arXiv 2102.10882."""
    return block.reparam_conv(x) if deployed(block.module) else ops.add(block.pos_enc(x), x)


def conv_mlp(block: Block, x: Value, ops: Ops) -> Any:
    """A depthwise convolution with norm, then two 1x1 convolutions."""
    return block.drop(block.fc2(block.drop(block.act(block.fc1(block.conv(x))))))


def rep_mixer_block(block: Block, x: Value, ops: Ops) -> Any:
    x = block.token_mixer(x)
    return ops.add(x, block.drop_path(block.layer_scale(block.mlp(x))))


def attention_block(block: Block, x: Value, ops: Ops) -> Any:
    """Self-attention and an MLP, each beside a shortcut.

    Norm and scale act on each channel alone, so they may as well stand where the map is tokens, beside a Linear.
    """
    tokens = ops.apply("tokens", tokens_of, x)
    normed = normed_tokens(block.norm, tokens, ops)
    mixed = scaled_tokens(block.layer_scale_1, block.token_mixer(normed), ops)
    x = ops.add(x, block.drop_path1(ops.apply("map", map_of, mixed, x.shape[2:])))
    return ops.add(x, block.drop_path2(block.layer_scale_2(block.mlp(x))))


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Softmax attention over tokens (batch, length, channels)."""
    attended = ops.apply("attention", attend, block.qkv(x), block.num_heads)
    return block.proj_drop(block.proj(attended))


def tokens_of(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h w, c)"""
    return x.flatten(2).transpose(1, 2)


def map_of(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(n, h w, c) to (n, c, h, w)"""
    return torch.unflatten(x.transpose(1, 2), 2, sizes)


def attend(qkv: Tensor, heads: int) -> Tensor:
    """softmax(q k' / sqrt(d)) v; the three lie side by side along the channels, heads within each."""
    q, k, v = torch.unflatten(qkv, 2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    scores = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), -1)
    attended: Tensor = (scores @ v).transpose(1, 2).flatten(2)
    return attended


def patch_embed(block: Block, x: Any, ops: Ops) -> Any:
    return block.proj(x)


def stage(block: Block, x: Any, ops: Ops) -> Any:
    return block.blocks(block.pos_emb(block.downsample(x)))


def net(block: Block, x: Any, ops: Ops) -> Any:
    if block.find("fork_feat"):
        raise UnknownFlow(block.module.path, "structure-differs", "fork_feat is set: it gives the maps of all stages")
    return block.head(block.final_conv(block.stages(block.stem(x))))


def _family(name: str, describe: Any, *children: str, deploy: DeployForm | None = None) -> Family:
    def fits(module: Module) -> bool:
        return deployed(module) if deploy is not None and deployed(module) else has_children(module, *children)

    paths = (f"timm.models.fastvit.{name}",)
    return Family(f"timm FastViT {name}", paths, describe, fits, deploy=deploy, example_shapes=maps())


FAMILIES = (
    _family(
        "RepMixer",
        rep_mixer,
        *("mixer", "norm", "layer_scale"),
        deploy=reparam_form("mixer", "norm", "layer_scale", inference_mode=True),
    ),
    _family("RepConditionalPosEnc", positions, "pos_enc", deploy=reparam_form("pos_enc")),
    _family("ConvMlp", conv_mlp, "conv", "fc1", "act", "fc2", "drop"),
    _family("RepMixerBlock", rep_mixer_block, "token_mixer", "mlp", "layer_scale", "drop_path"),
    _family(
        "AttentionBlock",
        attention_block,
        *("norm", "token_mixer", "layer_scale_1", "drop_path1", "mlp", "layer_scale_2", "drop_path2"),
    ),
    Family(
        "timm FastViT Attention",
        ("timm.models.fastvit.Attention",),
        attention,
        lambda module: has_children(module, "qkv", "proj", "proj_drop"),
        idle=("scale",),  # that of its width
    ),
    _family("PatchEmbed", patch_embed, "proj"),
    _family("FastVitStage", stage, "downsample", "pos_emb", "blocks"),
    Family(
        "timm FastViT",
        ("timm.models.fastvit.FastVit",),
        net,
        lambda module: has_children(module, "stem", "stages", "final_conv", "head"),
        example_shapes=images(),
    ),
)
