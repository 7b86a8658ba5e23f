"""RepLKNet's large depthwise kernel with a small one beside it; arXiv 2203.06717, guideline 3."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_BRANCHES = ("lkb_origin", "small_conv")
_SLOT = "lkb_reparam"


def large_kernel_conv(block: Block, x: Value, ops: Ops) -> Any:
    """The sum of a large and a small kernel, or the one convolution that they became."""
    if block.find(_SLOT) is not None:
        return block.lkb_reparam(x)
    large = block.lkb_origin(x)
    return ops.add(large, block.small_conv(x)) if block.has("small_conv") else large


def _slots(module: Module) -> tuple[Slot, ...]:
    if module.child(_SLOT) is not None:
        return ()
    return (Slot(_SLOT, tuple(name for name in _BRANCHES if module.child(name) is not None)),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `merge_kernel` leaves the block."""
    for name in _BRANCHES:
        module.drop(name)
    module.replace_child(_SLOT, convolutions[_SLOT])


LARGE_KERNEL_FORM = DeployForm(_slots, _write)

FAMILIES = (
    Family(
        "RepLKNet ReparamLargeKernelConv",
        ("replknet.ReparamLargeKernelConv",),
        large_kernel_conv,
        lambda module: has_children(module, _SLOT) or has_children(module, "lkb_origin"),
        deploy=LARGE_KERNEL_FORM,
        example_shapes=maps(),
        members=Members(("kernel_size", "small_kernel"), (*_BRANCHES, _SLOT)),
    ),
)
