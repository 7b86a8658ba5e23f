"""EfficientFormer as its authors publish it: pools as token mixers, then attention; arXiv 2206.01191, figure 3."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family, Members, Shapes
from app.engine.forward.images import images
from app.engine.forward.mobile.heads import joined_heads, joined_heads_fit, joined_heads_form
from app.engine.forward.mobile.hybrids.scaled import beside, scaled_form, scales_fit
from app.engine.forward.mobile.levit import BIASES, ONCE_MORE, attention
from app.engine.forward.steps import in_steps, steps_fit
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.hybrids.efficientformer import flat, pooling
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MOST = 64  # positions along a side of the last map; a larger one is not tried
_TOKENS, _MAPS = 2, 1  # where the channels are
_TOKEN_MLP = ("fc1", "act", "drop1", "fc2", "drop2")
_MAP_MLP = ("fc1", "norm1", "act", "drop", "fc2", "norm2", "drop")
_FACTORS = ("layer_scale_1", "layer_scale_2")
NET_MEMBERS = Members(
    ("fork_feat", "patch_embed", "network", "norm", "head", "dist", "init_cfg"),
    ("num_classes", "dist_head", "default_cfg"),
)


def token_block(block: Block, x: Value, ops: Ops) -> Any:
    """MB3D: attention, then an MLP of the tokens."""
    x = beside(block, x, block.token_mixer(block.norm1(x)), _FACTORS[0], ops, _TOKENS)
    return beside(block, x, block.mlp(block.norm2(x)), _FACTORS[1], ops, _TOKENS)


def map_block(block: Block, x: Value, ops: Ops) -> Any:
    """MB4D: what a pool changes, then an MLP of 1x1 convolutions."""
    x = beside(block, x, block.token_mixer(x), _FACTORS[0], ops, _MAPS)
    return beside(block, x, block.mlp(x), _FACTORS[1], ops, _MAPS)


def net(block: Block, image: Value, ops: Ops) -> Any:
    x = block.patch_embed(image)
    for part in block.network:
        x = part(x)
    return joined_heads(block, ops.apply("mean", torch.mean, block.norm(x), -2), ops)


def net_fits(module: Module) -> bool:
    """A classifier; one that gives the maps of all stages has other norms."""
    return (
        module.attribute("fork_feat", True) is False
        and has_children(module, "patch_embed", "network", "norm")
        and joined_heads_fit(module)
    )


def _image(module: Module) -> Shapes | None:
    """The one size that the attention's biases allow; without attention, the usual one."""
    index = next((found for part in module.walk() if (found := part.tensor(BIASES[1])) is not None), None)
    if index is None or len(index.shape) != 2:
        return images()(module)
    side = round(index.shape[0] ** 0.5)
    fits = 0 < side <= _MOST and side**2 == index.shape[0]
    stride = 4 << sum(1 for part in stages(module) if is_embedding(part))
    return images(side * stride, side * stride)(module) if fits else None


def stages(module: Module) -> list[Module]:
    network = module.child("network")
    return [part for _, part in network.children()] if network is not None else []


def is_embedding(module: Module) -> bool:
    """What halves the map between two stages."""
    return module.class_path.rpartition(".")[2] == "Embedding"


def family(
    version: str,
    file: str,
    name: str,
    describe: Any,
    fits: Callable[[Module], bool],
    *members: str,
    sometimes: tuple[str, ...] = (),
    idle: tuple[str, ...] = (),
    deploy: DeployForm | None = None,
    examples: Callable[[Module], Shapes | None] | None = None,
) -> Family:
    """A class of that file, as it lies in the authors' repository or beside the user's own script."""
    paths = (f"models.{file}.{name}", f"{file}.{name}")
    return Family(
        f"{version} {name}",
        paths,
        describe,
        fits,
        deploy=deploy,
        example_shapes=examples or (lambda module: None),
        members=Members(members, (*sometimes, *idle)),
        idle=idle,
    )


_family = partial(family, "EfficientFormer", "efficientformer")


def _in_steps(name: str, *steps: str) -> Family:
    return _family(name, in_steps(*steps), steps_fit(*steps), *dict.fromkeys(steps), examples=maps())


FAMILIES = (
    _family(
        "Attention",
        attention,
        lambda module: has_children(module, "qkv", "proj") and module.tensor(BIASES[1]) is not None,
        *("num_heads", "scale", "key_dim", "nh_kd", "d", "dh", "attn_ratio", "N", "N2", "qkv", "proj", *BIASES),
        idle=(ONCE_MORE,),
    ),
    _in_steps("Embedding", "proj", "norm"),
    _family("Flat", flat, steps_fit()),
    _family("Pooling", pooling, steps_fit("pool"), "pool"),
    Family(
        "EfficientFormer LinearMlp",
        ("models.efficientformer.LinearMlp", "efficientformer.LinearMlp"),
        in_steps(*_TOKEN_MLP),
        steps_fit(*_TOKEN_MLP),
        members=Members(_TOKEN_MLP),
    ),
    _in_steps("Mlp", *_MAP_MLP),
    _family(
        "Meta3D",
        token_block,
        lambda module: scales_fit(module) and has_children(module, "norm1", "token_mixer", "norm2", "mlp"),
        *("norm1", "token_mixer", "norm2", "mlp", "drop_path", "use_layer_scale"),
        sometimes=_FACTORS,
        deploy=scaled_form(("token_mixer.proj", (), _FACTORS[0]), ("mlp.fc2", (), _FACTORS[1])),
    ),
    _family(
        "Meta4D",
        map_block,
        lambda module: scales_fit(module) and has_children(module, "token_mixer", "mlp"),
        *("token_mixer", "mlp", "drop_path", "use_layer_scale"),
        sometimes=_FACTORS,
    ),
    Family(
        "EfficientFormer",
        ("models.efficientformer.EfficientFormer", "efficientformer.EfficientFormer"),
        net,
        net_fits,
        deploy=joined_heads_form(),
        example_shapes=_image,
        members=NET_MEMBERS,
    ),
)
