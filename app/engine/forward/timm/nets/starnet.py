"""StarNet: two projections of one map are multiplied; arXiv 2403.19967, figure 3."""

from typing import Any

import torch

from app.engine.forward.averaged import averages, commutes
from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import below, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value

_NET = ("stem", "stages", "norm", "global_pool", "flatten", "head")


def star(block: Block, x: Value, ops: Ops) -> Any:
    y = block.dwconv(x)
    y = ops.apply("mul", torch.mul, block.act(block.f1(y)), block.f2(y))
    return ops.add(x, through(block, y, "g", "dwconv2", "drop_path"))


def net(block: Block, image: Value, ops: Ops) -> Any:
    """The norm of the last map stands behind the map's mean where it commutes with it."""
    pool = below(block.module, "global_pool.pool")
    if not (averages(pool) and commutes(block.module.child("norm"))):
        return through(block, image, *_NET)
    mean = through(block, image, "stem", "stages", "global_pool", "flatten")
    return block.head(normed_tokens(block.norm, mean, ops) if len(mean.shape) == 2 else block.norm(mean))


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.starnet.{name}",)


FAMILIES = (
    sequence("timm StarNet ConvBN", _path("ConvBN"), "conv", "bn?"),
    Family(
        "timm StarNet Block",
        _path("Block"),
        star,
        steps_fit("dwconv", "f1", "f2", "g", "dwconv2", "act", "drop_path"),
        example_shapes=maps(),
    ),
    Family("timm StarNet", _path("StarNet"), net, steps_fit(*_NET), example_shapes=images()),
)
