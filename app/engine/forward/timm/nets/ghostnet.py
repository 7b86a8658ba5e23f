"""GhostNet, its second and its third version; arXiv 1911.11907, 2211.12905 and 2404.11202."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Shapes, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, through
from app.engine.forward.structure import has_children, maps, silence
from app.engine.forward.timm.blocks.branches import total
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, module_node

_SEQUENTIAL = ("torch.nn.modules.container", "Sequential")


def ghost(block: Block, x: Value, ops: Ops) -> Any:
    """Half of the channels by a convolution, the rest by a cheap depthwise one of those; section 3.1 of the first."""
    return _joined(block, block.primary_conv(x), ops)


def _joined(block: Block, primary: Value, ops: Ops) -> Value:
    joined = ops.concat([primary, block.cheap_operation(primary)])
    return ops.take(joined, range(block.out_chs)) if block.out_chs < joined.shape[1] else joined


def ghost_v2(block: Block, x: Value, ops: Ops) -> Any:
    """As above, times a gate from a map of half the size: attention by long convolutions; equation 6 of the second."""
    gate = block.short_conv(ops.avg_pool(x, (2, 2), (2, 2), (0, 0)))
    return _gated(block, ghost(block, x, ops), gate, ops)


def _gated(block: Block, y: Value, gate: Value, ops: Ops) -> Value:
    opened = block.gate_fn(gate)
    return ops.pointwise("gate", gated, y, opened, tuple(y.shape[2:]))


def gated(y: Tensor, gate: Tensor, sizes: tuple[int, int]) -> Tensor:
    return y * F.interpolate(gate, size=sizes, mode="nearest")


def ghost_v3(block: Block, x: Value, ops: Ops) -> Any:
    """Both convolutions of the ghost module over-parameterised, section 3.2 of the third; deployed as in the first."""
    if block.find("infer_mode"):
        primary = block.primary_conv(x)
        cheap = block.cheap_operation(primary)
    else:
        primary = block.primary_activation(_branches(block, x, ops, "primary"))
        cheap = block.cheap_activation(_branches(block, primary, ops, "cheap"))
    joined = ops.concat([primary, cheap])
    if block.mode != "shortcut":
        return joined
    gate = block.short_conv(ops.avg_pool(x, (2, 2), (2, 2), (0, 0)))
    kept = ops.take(joined, range(block.out_chs)) if block.out_chs < joined.shape[1] else joined
    return _gated(block, kept, gate, ops)


def _branches(block: Block, x: Value, ops: Ops, kind: str) -> Any:
    """scale(x) + skip(x) + the convolutions, where they are there."""
    alone = [block.find(f"{kind}_rpr_{name}") for name in ("scale", "skip")]
    parts = [branch(x) for branch in alone if branch is not None]
    return total(block, [*parts, *(branch(x) for branch in getattr(block, f"{kind}_rpr_conv"))], ops)


_BRANCHES = ("rpr_scale", "rpr_skip", "rpr_conv")
SHORTCUT = ("0", "2", "4")  # convolutions of `short_conv`, each with its norm behind


def _slots_v3(module: Module) -> tuple[Slot, ...]:
    gate = [Slot(f"short_conv.{at}", (f"short_conv.{at}", f"short_conv.{int(at) + 1}")) for at in SHORTCUT]
    long = gate if module.attribute("mode", None) == "shortcut" else []
    if module.attribute("infer_mode", False):
        return tuple(long)
    return (
        Slot("primary_conv", tuple(f"primary_{name}" for name in _BRANCHES)),
        Slot("cheap_operation", tuple(f"cheap_{name}" for name in _BRANCHES)),
        *long,
    )


def _write_v3(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block: each convolution in a Sequential with its activation."""
    for slot, kind in (("primary_conv", "primary"), ("cheap_operation", "cheap")):
        if slot in convolutions:
            activation = module.table("_modules")[f"{kind}_activation"]
            parts = {"0": convolutions[slot], "1": activation}
            training = bool(module.attribute("training", False))
            module.replace_child(slot, module_node(_SEQUENTIAL, training=training, modules=parts))
            for name in _BRANCHES:
                module.drop(f"{kind}_{name}")
            module.state["infer_mode"] = True
    for at in SHORTCUT:
        if f"short_conv.{at}" in convolutions:
            settle(module, f"short_conv.{at}", f"short_conv.{int(at) + 1}", convolutions)


def settle(module: Module, conv: str, norm: str, convolutions: Mapping[str, Any]) -> None:
    """Put the convolution where it was, and an identity in the place of its norm."""
    above, _, name = conv.rpartition(".")
    parent = module.child(above)
    assert parent is not None
    parent.replace_child(name, convolutions[conv])
    silence(module, norm)


def bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "ghost1", "conv_dw?", "bn_dw?", "se?", "ghost2")
    return ops.add(y, block.shortcut(x))


def bottleneck_v3(block: Block, x: Value, ops: Ops) -> Any:
    y = block.ghost1(x)
    if block.find("infer_mode"):
        y = through(block, y, "conv_dw", "bn_dw")
    elif block.stride > 1:
        y = _branches(block, y, ops, "dw")
    y, beside = through(block, y, "se", "ghost2"), block.shortcut(x)
    with ops.outside():
        return ops.add(y, beside)


def _bottleneck_slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("conv_dw", tuple(f"dw_{name}" for name in _BRANCHES)),)


def _write_bottleneck(module: Module, convolutions: Mapping[str, Any]) -> None:
    if "conv_dw" in convolutions:
        module.replace_child("conv_dw", convolutions["conv_dw"])
        silence(module, "bn_dw")
        for name in _BRANCHES:
            module.drop(f"dw_{name}")
        module.state["infer_mode"] = True


DEPTHWISE = DeployForm(_bottleneck_slots, _write_bottleneck, absorbs=False)


def _strided(module: Module) -> bool:
    """In the training form with a strided depthwise convolution, and so with a shortcut of its own."""
    training = not module.attribute("infer_mode", False) and module.attribute("stride", 1) != 1
    return training and _bottleneck_fits(module) and has_children(module, "dw_rpr_conv", "dw_rpr_scale")


def _bottleneck_fits(module: Module) -> bool:
    return has_children(module, "ghost1", "ghost2", "se", "shortcut")


def _examples(module: Module) -> Shapes | None:
    """Of its first convolution: `in_channels` says something else in these classes."""
    first = next((part for part in module.walk() if part.class_path == "torch.nn.modules.conv.Conv2d"), None)
    return None if first is None else maps(2)(first)


def _bottleneck_examples(module: Module) -> Shapes | None:
    inner = module.child("ghost1")
    return None if inner is None else _examples(inner)


def _paths(name: str) -> tuple[str, ...]:
    return (f"timm.models.ghostnet.{name}",)


FAMILIES = (
    Family(
        "timm GhostModule",
        _paths("GhostModule"),
        ghost,
        lambda module: has_children(module, "primary_conv", "cheap_operation"),
        example_shapes=maps(),
    ),
    Family(
        "timm GhostModuleV2",
        _paths("GhostModuleV2"),
        ghost_v2,
        lambda module: has_children(module, "primary_conv", "cheap_operation", "short_conv", "gate_fn"),
        example_shapes=maps(2),
    ),
    Family(
        "timm GhostModuleV3",
        _paths("GhostModuleV3"),
        ghost_v3,
        lambda module: has_children(module, "primary_conv", "cheap_operation", "short_conv"),
        deploy=DeployForm(_slots_v3, _write_v3, all_or_nothing=True),
        example_shapes=_examples,
        idle=("gate_fn", "primary_conv", "primary_activation", "cheap_operation", "cheap_activation", "short_conv"),
    ),
    Family(
        "timm GhostBottleneck",
        _paths("GhostBottleneck"),
        bottleneck,
        lambda module: has_children(module, "ghost1", "ghost2", "shortcut"),
        example_shapes=maps(2),
    ),
    Family(
        "timm GhostBottleneckV3",
        _paths("GhostBottleneckV3"),
        bottleneck_v3,
        _strided,
        deploy=DEPTHWISE,
        example_shapes=_bottleneck_examples,
        idle=("conv_dw", "bn_dw"),
    ),
    Family(
        "timm GhostBottleneckV3 without a depthwise convolution, or deployed",
        _paths("GhostBottleneckV3"),
        bottleneck_v3,
        _bottleneck_fits,
        example_shapes=_bottleneck_examples,
        idle=("conv_dw", "bn_dw"),
    ),
    sequence(
        "timm GhostNet",
        _paths("GhostNet"),
        *("conv_stem", "bn1", "act1", "blocks", "global_pool", "conv_head", "act2", "flatten?", "classifier"),
        examples=images(),
    ),
)
