"""A batch norm before the mean of each channel: an affine map of each channel, so it is the same behind the mean.

There it meets the Linear that reads the mean, and both are one.
"""

from typing import Any

import torch

from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_AVERAGES = (
    *(f"torch.nn.modules.pooling.AdaptiveAvgPool{dims}d" for dims in (1, 2, 3)),
    "timm.layers.adaptive_avgmax_pool.FastAdaptiveAvgPool",
)
_ONE = (1, (1,), (1, 1), (1, 1, 1))
_NORMS = "torch.nn.modules.batchnorm."


def averages(pool: Module | None) -> bool:
    """Whether the layer leaves the mean of each channel."""
    return pool is not None and pool.class_path in _AVERAGES and pool.attribute("output_size", 1) in _ONE


def commutes(norm: Module | None) -> bool:
    """Whether the layer is a batch norm with statistics, and nothing more."""
    if norm is None or not norm.class_path.startswith(_NORMS):
        return False
    kept = norm.tensor("running_mean") is not None and norm.tensor("running_var") is not None
    return kept and (norm.tensor("weight") is None) == (norm.tensor("bias") is None)


def normed_average(norm: Block, pool: Block, x: Value, ops: Ops) -> Any:
    """flatten(pool(norm(x))), with the norm behind the pool where it commutes."""
    moved = commutes(norm.module)
    mean = ops.apply("flatten", torch.flatten, pool(x if moved else norm(x)), 1)
    return normed_tokens(norm, mean, ops) if moved else mean
