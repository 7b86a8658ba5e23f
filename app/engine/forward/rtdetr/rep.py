"""PP-YOLOE's RepVGG block (arXiv 2203.16250, figure 3) as RT-DETR's encoder and backbone have it, and what holds it."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import become_sequential, has_children, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FILES = ("src.zoo.rtdetr.hybrid_encoder", "src.zoo.dfine.hybrid_encoder", "src.nn.backbone.csp_resnet")
_BRANCHES = ("conv1", "conv2")


def rep_vgg(block: Block, x: Value, ops: Ops) -> Any:
    """act(conv1(x) + alpha conv2(x)): a 3x3 and a 1x1 branch, the second with a learned factor where there is one."""
    if block.find("conv") is not None:
        return block.act(block.conv(x))
    pointwise = block.conv2(x)
    if block.find("alpha") is not None:
        pointwise = ops.scale(pointwise, block.alpha)
    return block.act(ops.add(block.conv1(x), pointwise))


def _slots(module: Module) -> tuple[Slot, ...]:
    """After `convert_to_deploy` the branches are still there, and nobody calls them."""
    if module.child("conv") is not None:
        return ()
    return (Slot("conv", (*_BRANCHES, *(("alpha",) if module.tensor("alpha") is not None else ()))),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """`convert_to_deploy` folds the branches anew whenever it is called: a Sequential has no such method."""
    activation = module.table("_modules")["act"]
    module.drop("alpha")
    become_sequential(module, conv=convolutions["conv"], act=activation)


def _fits(module: Module) -> bool:
    there = has_children(module, "conv", "act") or has_children(module, *_BRANCHES, "act")
    return there and only_children(module, "conv", *_BRANCHES, "act")


def csp_rep(block: Block, x: Value, ops: Ops) -> Any:
    """The sum of two paths, one of them through RepVGG blocks; RT-DETR, arXiv 2304.08069, figure 4."""
    return block.conv3(ops.add(block.bottlenecks(block.conv1(x)), block.conv2(x)))


FAMILIES = (
    Family(
        "RT-DETR RepVggBlock",
        tuple(f"{file}.{name}" for file in _FILES for name in ("RepVggBlock", "VGGBlock")),
        rep_vgg,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(always=("ch_in", "ch_out", *_BRANCHES, "act"), sometimes=("conv", "alpha")),
        idle=(*_BRANCHES, "alpha"),  # beside the `conv` that `convert_to_deploy` made of them
    ),
    Family(
        "RT-DETR CSPRepLayer",
        tuple(f"{file}.CSPRepLayer" for file in _FILES),
        csp_rep,
        lambda module: has_children(module, *_BRANCHES, "bottlenecks", "conv3"),
        example_shapes=maps(),
    ),
)
