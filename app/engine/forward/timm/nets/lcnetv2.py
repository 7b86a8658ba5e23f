"""PP-LCNetV2: depthwise convolutions of several sizes side by side become the largest."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.branches import total
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_BRANCHES = "dw_conv_list"


def separable(block: Block, x: Value, ops: Ops) -> Any:
    """Depthwise, squeeze-and-excitation and pointwise, with a shortcut where the shapes allow it."""
    if block.module.child(_BRANCHES) is None:
        y = block.dw_conv(x)
    else:
        y = total(block, [branch(x) for branch in block.dw_conv_list], ops)
    y = through(block, y, "dw_act?", "se?", "pw_conv")
    if not block.use_shortcut:
        return y
    with ops.outside():
        return ops.add(y, x)


def _slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("dw_conv", (_BRANCHES,)),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `reparameterize` leaves the block."""
    module.drop("dw_conv")
    module.drop(_BRANCHES)
    module.replace_child("dw_conv", convolutions["dw_conv"])
    module.state[_BRANCHES] = None


_PATH = ("timm.models.lcnetv2.RepDepthwiseSeparable",)

FAMILIES = (
    Family(
        "timm RepDepthwiseSeparable",
        _PATH,
        separable,
        lambda module: has_children(module, _BRANCHES, "pw_conv"),
        deploy=DeployForm(_slots, _write, absorbs=False),
        example_shapes=maps(),
    ),
    Family(
        "timm RepDepthwiseSeparable of one convolution",
        _PATH,
        separable,
        lambda module: has_children(module, "dw_conv", "pw_conv"),
        example_shapes=maps(),
    ),
    sequence(
        "timm LCNetV2",
        ("timm.models.lcnetv2.LCNetV2",),
        *("stem", "stages", "global_pool", "conv_head", "act2", "flatten", "classifier"),
        examples=images(),
    ),
)
