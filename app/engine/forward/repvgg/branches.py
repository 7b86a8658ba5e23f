"""The three branches of a RepVGG block, and the slot of the one convolution that they become; arXiv 2101.03697."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import Slot
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

BRANCHES = ("rbr_dense", "rbr_1x1", "rbr_identity")


def branches(block: Block, x: Value, ops: Ops) -> Any:
    """dense(x) + pointwise(x) + identity(x), or the one convolution that they became; figure 4 of the paper."""
    if block.find("rbr_reparam") is not None:
        return block.rbr_reparam(x)
    total = ops.add(block.rbr_dense(x), block.rbr_1x1(x))
    if block.rbr_identity is not None:
        total = ops.add(total, block.rbr_identity(x))
    return total


def has_branches(module: Module) -> bool:
    """The deployed form, or the training form with its (possibly absent) identity branch."""
    if module.child("rbr_reparam") is not None:
        return True
    return has_children(module, "rbr_dense", "rbr_1x1") and module.has("rbr_identity")


def branch_slots(module: Module) -> tuple[Slot, ...]:
    if module.child("rbr_reparam") is not None:
        return ()
    there = tuple(name for name in BRANCHES if module.child(name) is not None)
    return (Slot("rbr_reparam", there),)


def write_reparam(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block: with `rbr_reparam` that method returns at once."""
    for name in (*BRANCHES, "id_tensor"):
        module.drop(name)
    module.state["deploy"] = True
    module.replace_child("rbr_reparam", convolutions["rbr_reparam"])
