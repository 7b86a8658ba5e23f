"""A head beside one that was distilled, whose mean is the answer; arXiv 2012.12877, figure 2."""

from typing import Any

import torch

from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def distilled_head(block: Block, x: Value, ops: Ops, flag: str = "distillation", second: str = "head_dist") -> Any:
    """(head(x) + head_dist(x)) / 2, or head(x) alone."""
    if not getattr(block, flag):
        return block.head(x)
    return ops.scale(ops.add(block.head(x), getattr(block, second)(x)), literal(torch.tensor([0.5])))


def distilled_head_fits(module: Module, flag: str = "distillation", second: str = "head_dist") -> bool:
    distilled = module.attribute(flag, None)
    return type(distilled) is bool and has_children(module, "head", *[second] * distilled)
