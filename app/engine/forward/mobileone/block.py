"""MobileOne's blocks: several convolutions, a scale and a skip branch; arXiv 2206.04040."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.squeeze import gated, mean_of_maps
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_BRANCHES = ("rbr_conv", "rbr_scale", "rbr_skip")
_ATTRIBUTES = ("inference_mode", "groups", "stride", "kernel_size", "in_channels", "out_channels", "num_conv_branches")


def mobileone_block(block: Block, x: Value, ops: Ops) -> Any:
    """activation(se(the sum of all branches)), figure 3 of the paper; deployed they are one convolution."""
    if block.inference_mode:
        return block.activation(block.se(block.reparam_conv(x)))
    branches = [branch(x) for branch in (block.rbr_scale, block.rbr_skip) if branch is not None]
    branches += [block.rbr_conv[index](x) for index in range(block.num_conv_branches)]
    total = branches[0]
    for branch in branches[1:]:
        total = ops.add(total, branch)
    return block.activation(block.se(total))


def se_block(block: Block, x: Value, ops: Ops) -> Value:
    return gated(block, x, ops.apply("avg_pool", mean_of_maps, x), "reduce", "expand", ops)


def has_mobileone_branches(module: Module) -> bool:
    """The deployed form, or the training form with at least one convolution branch."""
    if module.attribute("inference_mode", None) is True:
        return has_children(module, "reparam_conv")
    convolutions, count = module.child("rbr_conv"), module.attribute("num_conv_branches", None)
    there = convolutions is not None and type(count) is int and 1 <= count == sum(1 for _ in convolutions.children())
    return there and module.has("rbr_scale") and module.has("rbr_skip")


def _slots(module: Module) -> tuple[Slot, ...]:
    if module.attribute("inference_mode", None) is True:
        return ()
    return (Slot("reparam_conv", tuple(name for name in _BRANCHES if module.child(name) is not None)),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `reparameterize` leaves the block: with `inference_mode` that method returns at once."""
    for name in (*_BRANCHES, "id_tensor"):
        module.drop(name)
    module.state["inference_mode"] = True
    module.replace_child("reparam_conv", convolutions["reparam_conv"])


FAMILIES = (
    Family(
        "MobileOne MobileOneBlock",
        ("mobileone.MobileOneBlock", "models.mobileone.MobileOneBlock"),
        mobileone_block,
        lambda module: has_children(module, "activation", "se") and has_mobileone_branches(module),
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(("activation", "se", *_ATTRIBUTES), (*_BRANCHES, "reparam_conv", "id_tensor")),
    ),
    Family(
        "MobileOne SEBlock",
        ("mobileone.SEBlock", "models.mobileone.SEBlock"),
        se_block,
        lambda module: has_children(module, "reduce", "expand"),
        members=Members(("reduce", "expand")),
    ),
)
