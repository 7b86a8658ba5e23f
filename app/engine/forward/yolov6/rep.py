"""YOLOv6's re-parameterised blocks: RepVGG, its two quantisation-aware forms, and those of RepOptimizer."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Describe, Family, Slot
from app.engine.forward.repvgg.branches import BRANCHES, has_branches
from app.engine.forward.structure import become_sequential, has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov6.conv import COMMON
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node

_PARTS = (*BRANCHES, "rbr_avg")


def _sum(block: Block, x: Value, ops: Ops) -> Any:
    """The branches that are there, or the one convolution that they became; RepVGG, arXiv 2101.03697, figure 4."""
    if block.find("rbr_reparam") is not None:
        return block.rbr_reparam(x)
    total = ops.add(block.rbr_dense(x), block.rbr_1x1(x))
    for name in ("rbr_identity", "rbr_avg"):
        if block.find(name) is not None:
            total = ops.add(total, getattr(block, name)(x))
    return total


def rep_vgg(block: Block, x: Value, ops: Ops) -> Any:
    return block.nonlinearity(block.se(_sum(block, x, ops)))


def quantisation_aware(block: Block, x: Value, ops: Ops) -> Any:
    """One batch norm after the sum, none in the small branches; QARepVGG, arXiv 2212.01593, figure 4."""
    return block.nonlinearity(block.bn(block.se(_sum(block, x, ops))))


def linear_add(block: Block, x: Value, ops: Ops) -> Any:
    """Scaled branches and one batch norm after their sum: RepOptimizer's search, arXiv 2205.15242, figure 1."""
    total = ops.add(block.scale_conv(block.conv(x)), block.scale_1x1(block.conv_1x1(x)))
    if block.find("scale_identity") is not None:
        total = ops.add(total, block.scale_identity(x))
    return block.relu(block.se(block.bn(total)))


def real_vgg(block: Block, x: Value, ops: Ops) -> Any:
    return block.relu(block.se(block.bn(block.conv(x))))


def _slots(module: Module, *behind: str) -> tuple[Slot, ...]:
    """What the one convolution stands for; after the authors' conversion a norm may be left behind it."""
    parts = ("rbr_reparam",) if module.child("rbr_reparam") is not None else _PARTS
    there = tuple(name for name in (*parts, *behind) if module.child(name) is not None)
    return (Slot("rbr_reparam", there),) if len(there) > 1 else ()


def _norm_slots(module: Module) -> tuple[Slot, ...]:
    norm = module.child("bn")
    plain = norm is not None and norm.class_path != "torch.nn.modules.linear.Identity"
    return _slots(module, "bn") if plain else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block: it returns at once where `rbr_reparam` is."""
    for name in (*_PARTS, "id_tensor"):
        module.drop(name)
    module.state["deploy"] = True
    module.replace_child("rbr_reparam", convolutions["rbr_reparam"])


def _write_behind(module: Module, convolutions: Mapping[str, Any]) -> None:
    """The class calls its `bn` after the convolution in either form: an identity."""
    _write(module, convolutions)
    module.replace_child("bn", identity_node(bool(module.attribute("training", False))))


def _sequential_slots(*parts: str) -> Any:
    def slots(module: Module) -> tuple[Slot, ...]:
        return (Slot("conv", tuple(part for part in parts if module.child(part) is not None)),)

    return slots


def _write_sequential(module: Module, convolutions: Mapping[str, Any]) -> None:
    """Training code alone has these classes: a Sequential of what is left computes the same anywhere."""
    children = module.table("_modules")
    become_sequential(module, conv=convolutions["conv"], se=children["se"], relu=children["relu"])


_SCALED = ("conv", "scale_conv", "conv_1x1", "scale_1x1", "scale_identity", "bn")


def _rep_fits(module: Module) -> bool:
    return has_children(module, "nonlinearity", "se") and has_branches(module) and not module.has("bn")


def _aware_fits(module: Module) -> bool:
    return has_children(module, "nonlinearity", "se", "bn") and has_branches(module)


def _family(name: str, describe: Describe, fits: Any, form: DeployForm) -> Family:
    return Family(f"YOLOv6 {name}", (f"{COMMON}.{name}",), describe, fits, deploy=form, example_shapes=maps())


FAMILIES = (
    _family("RepVGGBlock", rep_vgg, _rep_fits, DeployForm(_slots, _write)),
    _family("QARepVGGBlock", quantisation_aware, _aware_fits, DeployForm(_norm_slots, _write_behind)),
    _family("QARepVGGBlockV2", quantisation_aware, _aware_fits, DeployForm(_norm_slots, _write_behind)),
    _family(
        "LinearAddBlock",
        linear_add,
        lambda module: has_children(module, "conv", "scale_conv", "conv_1x1", "scale_1x1", "bn", "se", "relu"),
        DeployForm(_sequential_slots(*_SCALED), _write_sequential),
    ),
    _family(
        "RealVGGBlock",
        real_vgg,
        lambda module: has_children(module, "conv", "bn", "se", "relu"),
        DeployForm(_sequential_slots("conv", "bn"), _write_sequential),
    ),
)
