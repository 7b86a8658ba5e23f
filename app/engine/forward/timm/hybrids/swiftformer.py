"""SwiftFormer: additive attention of linear cost between convolutions; arXiv 2303.15446, figure 3."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import residual, sequence, steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.hybrids.heads import HEADS_BEHIND_NORM, heads_behind_norm, pools_or_not
from app.engine.forward.timm.layers.scale import scaled_tokens
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_CONVOLUTIONS = ("dwconv", "norm", "pwconv1", "act", "pwconv2", "layer_scale", "drop_path")


def attention(block: Block, x: Value, ops: Ops, scale: Block | None = None) -> Any:
    """Equation 3. A factor per channel behind it may as well stand where the map is tokens, beside a Linear."""
    tokens = ops.apply("tokens", tokens_of, x)
    query = ops.apply("normalize", normalized, block.to_query(tokens))
    key = ops.apply("normalize", normalized, block.to_key(tokens))
    attended = block.proj(ops.apply("attention", attend, query, key, block.w_g, block.scale_factor))
    y = block.final(ops.apply("add", torch.add, attended, query))
    y = y if scale is None else scaled_tokens(scale, y, ops)
    return ops.apply("map", map_of, y, x.shape[2:])


def normalized(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def attend(query: Tensor, key: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Keys times the sum of all queries, each weighed by one number."""
    weights = F.normalize(query @ weight * scale, dim=1)
    return (weights * query).sum(1, keepdim=True) * key


def encoder(block: Block, x: Value, ops: Ops) -> Any:
    x = block.local_representation(x)
    attended = ops.call_as(block.attn, partial(attention, scale=block.layer_scale_1), x)
    x = ops.add(x, block.drop_path(attended))
    return ops.add(x, through(block, x, "linear", "layer_scale_2", "drop_path"))


def net(block: Block, image: Value, ops: Ops) -> Any:
    return heads_behind_norm(block, block.stages(block.stem(image)), ops)


def _net_fits(module: Module) -> bool:
    return has_children(module, "stem", "stages", "norm", "head_drop", "head", "head_dist") and pools_or_not(module)


def _path(*names: str) -> tuple[str, ...]:
    return tuple(f"timm.models.swiftformer.{name}" for name in names)


FAMILIES = (
    sequence("timm SwiftFormer Embedding", _path("Embedding"), "proj", "norm"),
    residual("timm SwiftFormer convolutions", _path("ConvEncoder", "LocalRepresentation"), *_CONVOLUTIONS),
    sequence("timm SwiftFormer Mlp", _path("Mlp"), "norm1", "fc1", "act", "drop", "fc2", "drop"),
    Family(
        "timm SwiftFormer EfficientAdditiveAttention",
        _path("EfficientAdditiveAttention"),
        attention,
        lambda module: has_children(module, "to_query", "to_key", "proj", "final") and module.tensor("w_g") is not None,
    ),
    Family(
        "timm SwiftFormer Block",
        _path("Block"),
        encoder,
        steps_fit("local_representation", "attn", "linear", "drop_path", "layer_scale_1", "layer_scale_2"),
        example_shapes=maps(),
    ),
    sequence("timm SwiftFormer Stage", _path("Stage"), "downsample", "blocks"),
    Family(
        "timm SwiftFormer",
        _path("SwiftFormer"),
        net,
        _net_fits,
        deploy=HEADS_BEHIND_NORM,
        example_shapes=images(),
    ),
)
