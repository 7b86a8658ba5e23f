"""A norm before the mean over the whole map: an affine map of each channel, so that it is the same behind the mean.

There it meets the Linear that reads the mean, and both are one.
"""

from typing import Any

import torch

from app.engine.forward.structure import is_batch_norm
from app.engine.forward.timm.blocks.conv_norm import normed_tokens
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_AVERAGE = "torch.nn.modules.pooling.AdaptiveAvgPool2d"


def averages(pool: Module | None) -> bool:
    """Whether the layer leaves the mean of each channel."""
    return pool is not None and pool.class_path == _AVERAGE and pool.attribute("output_size", 0) in (1, (1, 1))


def normed_average(norm: Block, pool: Block, x: Value, ops: Ops) -> Any:
    """flatten(pool(norm(x))), with a batch norm written down behind the pool."""
    x = x if is_batch_norm(norm.module) else norm(x)
    mean = ops.apply("flatten", torch.flatten, pool(x), 1)
    return normed_tokens(norm, mean, ops) if is_batch_norm(norm.module) else mean
