"""Two residual halves of a transformer block, and a head beside one that was distilled (arXiv 2012.12877, figure 2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.steps import through
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def halves(*parts: tuple[str, ...]) -> Callable[[Block, Value, Ops], Any]:
    """x plus what the children of each part make of it, one part after the other."""

    def describe(block: Block, x: Any, ops: Ops) -> Any:
        for steps in parts:
            x = ops.add(x, through(block, x, *steps))
        return x

    return describe


def averaged_heads(block: Block, x: Any, ops: Ops) -> Any:
    """The mean of both heads' answers."""
    return ops.apply("mean of two heads", mean_of_two, block.head(x), block.head_dist(x))


def mean_of_two(x: Tensor, y: Tensor) -> Tensor:
    return (x + y) / 2


def pooled(block: Block, x: Value, dims: tuple[int, ...], ops: Ops) -> Value:
    """The mean over all positions; without a pool (`global_pool` is empty) the map or tokens as they are."""
    return ops.apply("global_pool", torch.mean, x, dims) if block.global_pool == "avg" else x


def pools_or_not(module: Module) -> bool:
    return module.attribute("global_pool", None) in ("", "avg")
