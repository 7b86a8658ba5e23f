"""The Asymmetric Convolution Block: a kxk, a kx1 and a 1xk convolution side by side; arXiv 1908.03930."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_BRANCHES = ("square_conv", "square_bn", "ver_conv", "ver_bn", "hor_conv", "hor_bn")


def ac_block(block: Block, x: Value, ops: Ops) -> Any:
    """The sum of the three branches, figure 2 of the paper.

    With less padding than half a kernel the asymmetric branches look at the map without its border.
    """
    if block.deploy:
        return block.fused_conv(x)
    vertical, horizontal, crop = x, x, block.crop
    if crop > 0:
        vertical = ops.pad(x, ((0, 0), (-crop, -crop)))
        horizontal = ops.pad(x, ((-crop, -crop), (0, 0)))
    square = block.square_bn(block.square_conv(x))
    total = ops.add(square, block.ver_bn(block.ver_conv(vertical)))
    return ops.add(total, block.hor_bn(block.hor_conv(horizontal)))


def _fits(module: Module) -> bool:
    if module.attribute("deploy", None) is True:
        return has_children(module, "fused_conv")
    crop = module.attribute("crop", 0)
    return type(crop) is int and crop >= 0 and has_children(module, *_BRANCHES) and module.has("deploy")


def _slots(module: Module) -> tuple[Slot, ...]:
    return () if module.attribute("deploy", None) is True else (Slot("fused_conv", _BRANCHES, from_input=True),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block."""
    for name in _BRANCHES:
        module.drop(name)
    module.state["deploy"] = True
    module.replace_child("fused_conv", convolutions["fused_conv"])


FAMILIES = (
    Family(
        "ACNet ACBlock",
        ("acb.ACBlock", "acnet.acb.ACBlock", "models.acb.ACBlock"),
        ac_block,
        _fits,
        defaults={"crop": 0},
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(("deploy",), (*_BRANCHES, "crop", "fused_conv")),
    ),
)
