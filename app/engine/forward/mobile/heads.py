"""A head beside one that was distilled, whose mean is the answer; arXiv 2012.12877, figure 2."""

from collections.abc import Mapping
from typing import Any

import torch

from app.engine.forward.averaged import commutes
from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.structure import has_children, silence
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_LINEAR = "torch.nn.modules.linear.Linear"


def distilled_head(block: Block, x: Value, ops: Ops, flag: str = "distillation", second: str = "head_dist") -> Any:
    """(head(x) + head_dist(x)) / 2, or head(x) alone."""
    if not getattr(block, flag):
        return block.head(x)
    return ops.scale(ops.add(block.head(x), getattr(block, second)(x)), literal(torch.tensor([0.5])))


def distilled_head_fits(module: Module, flag: str = "distillation", second: str = "head_dist") -> bool:
    distilled = module.attribute(flag, None)
    return type(distilled) is bool and has_children(module, "head", *[second] * distilled)


def joined_heads(block: Block, x: Value, ops: Ops) -> Any:
    """As above, of a class that calls the second head `dist_head` and says by `dist` whether it has one."""
    if not block.dist:
        return block.head(x)
    both = ops.add(block.head(x), block.dist_head(x))
    return ops.scale(both, literal(torch.tensor([0.5])))


def joined_heads_fit(module: Module) -> bool:
    distilled = module.attribute("dist", None)
    return type(distilled) is bool and has_children(module, "head", *["dist_head"] * distilled)


def joined_heads_form(*before: str) -> DeployForm:
    """One head, as of a model that was not distilled, with the norms before it taken in."""

    def parts(module: Module) -> tuple[str, ...]:
        """What goes; none of it where there is no Linear, as in a model without classes."""
        norms = [name for name in before if commutes(module.child(name))]
        head = module.child("head")
        linear = head is not None and head.class_path == _LINEAR
        return (*norms, *["dist_head"] * bool(module.attribute("dist", False))) if linear else ()

    def slots(module: Module) -> tuple[Slot, ...]:
        going = parts(module)
        return (Slot("head", ("head", *going)),) if going else ()

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for name in parts(module):
            if name == "dist_head":
                module.drop(name)
            else:
                silence(module, name)
        module.replace_child("head", convolutions["head"])
        module.state["dist"] = False

    return DeployForm(slots, write, absorbs=False)
