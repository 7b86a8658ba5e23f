"""GhostNetV3 as its authors publish it; arXiv 2404.11202, section 3.2."""

from collections.abc import Mapping
from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family, Members, Shapes, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.branches import total
from app.engine.forward.timm.nets.ghostnet import DEPTHWISE, SHORTCUT, gated, settle
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, module_node

_FILE = "ghostnetv3"
_PLAIN, _GATED = "ori", "ori_shortcut_mul_conv15"
_SEQUENTIAL = ("torch.nn.modules.container", "Sequential")
_CONV = "torch.nn.modules.conv.Conv2d"
_STEM = ("conv_stem", "bn1", "act1", "blocks", "global_pool", "conv_head", "act2")
_KINDS = {"primary": "primary_conv", "cheap": "cheap_operation"}
_BRANCHES = ("rpr_skip", "rpr_conv", "rpr_scale")
_TRAINED = tuple(f"{kind}_{name}" for kind in _KINDS for name in (*_BRANCHES, "activation"))


def ghost(block: Block, x: Value, ops: Ops) -> Any:
    """Half of the channels by a convolution, the rest by a cheap one of those; both are over-parameterised.

    In the wider blocks all of it times a gate, from a map of half the size; equation 6 of arXiv 2211.12905.
    """
    primary = _made(block, "primary", x, ops)
    joined = ops.concat([primary, _made(block, "cheap", primary, ops)])
    if block.mode == _PLAIN:
        return joined
    gate = block.gate_fn(block.short_conv(ops.avg_pool(x, (2, 2), (2, 2), (0, 0))))
    kept = ops.take(joined, range(block.oup)) if block.oup < joined.shape[1] else joined
    return ops.pointwise("gate", gated, kept, gate, tuple(kept.shape[2:]))


def _made(block: Block, kind: str, x: Value, ops: Ops) -> Any:
    if block.infer_mode:
        return getattr(block, _KINDS[kind])(x)
    return through(block, _branches(block, x, ops, kind), f"{kind}_activation?")


def _branches(block: Block, x: Value, ops: Ops, kind: str) -> Any:
    """skip(x) + scale(x) + the convolutions, where they are there."""
    alone = (f"{kind}_rpr_skip", *[f"{kind}_rpr_scale"] * block.dconv_scale)
    parts = [branch(x) for name in alone if (branch := block.find(name)) is not None]
    several = getattr(block, f"{kind}_rpr_conv")
    return total(block, [*parts, *(several[index](x) for index in range(block.num_conv_branches))], ops)


def bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    y = block.ghost1(x)
    if block.stride > 1:
        y = through(block, y, "conv_dw", "bn_dw") if block.infer_mode else _branches(block, y, ops, "dw")
    y, beside = through(block, y, "se?", "ghost2"), block.shortcut(x)
    with ops.outside():
        return ops.add(y, beside)


def net(block: Block, image: Value, ops: Ops) -> Any:
    x = ops.apply("flatten", torch.flatten, through(block, image, *_STEM), 1)
    return ops.apply("squeeze", torch.squeeze, block.classifier(x))


def _slots(module: Module) -> tuple[Slot, ...]:
    gate = [Slot(f"short_conv.{at}", (f"short_conv.{at}", f"short_conv.{int(at) + 1}")) for at in SHORTCUT]
    gates = [slot for slot in gate if module.attribute("mode", None) == _GATED]
    if module.attribute("infer_mode", False):
        return tuple(gates)
    made = (Slot(name, tuple(f"{kind}_{branch}" for branch in _BRANCHES)) for kind, name in _KINDS.items())
    return (*made, *gates)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `reparameterize` leaves the block: each convolution in a Sequential with its activation, or an empty one."""
    training = bool(module.attribute("training", False))
    for kind, name in _KINDS.items():
        if name in convolutions:
            activation = module.table("_modules").get(f"{kind}_activation")
            after = activation or module_node(_SEQUENTIAL, training=training, modules={})
            parts = {"0": convolutions[name], "1": after}
            module.replace_child(name, module_node(_SEQUENTIAL, training=training, modules=parts))
            for branch in _BRANCHES:
                module.drop(f"{kind}_{branch}")
            module.state["infer_mode"] = True
    for at in SHORTCUT:
        if f"short_conv.{at}" in convolutions:
            settle(module, f"short_conv.{at}", f"short_conv.{int(at) + 1}", convolutions)


def _ghost_fits(module: Module) -> bool:
    """One of the two published modes, with the published gate: before it is brought to size, and not scaled."""
    mode, deployed = module.attribute("mode", None), module.attribute("infer_mode", None)
    needed = _KINDS.values() if deployed else ("primary_rpr_conv", "cheap_rpr_conv")
    known = mode in (_PLAIN, _GATED) and type(deployed) is bool and _scales(module)
    if not known or not has_children(module, *needed):
        return False
    stated = [module.attribute(name, None) for name in ("gate_loc", "inter_mode", "scale")]
    return mode == _PLAIN or (has_children(module, "short_conv", "gate_fn") and stated == ["before", "nearest", 1.0])


def _scales(module: Module) -> bool:
    """Whether it says if its 1x1 branches are read."""
    return type(module.attribute("dconv_scale", None)) is bool


def _bottleneck_fits(module: Module) -> bool:
    stride = module.attribute("stride", None)
    return type(stride) is int and _scales(module) and has_children(module, "ghost1", "ghost2", "shortcut")


def _strided(module: Module) -> bool:
    """In the training form with a strided depthwise convolution."""
    training = module.attribute("infer_mode", True) is False and has_children(module, "dw_rpr_conv")
    return training and _bottleneck_fits(module) and module.attribute("stride", 1) > 1


def _examples(module: Module) -> Shapes | None:
    """Of its first convolution: `in_channels` says something else in these classes."""
    first = next((part for part in (module.child("ghost1") or module).walk() if part.class_path == _CONV), None)
    return None if first is None else maps(2)(first)


# What `dconv_scale=False` leaves unread.
_UNSCALED = tuple(f"{kind}_rpr_scale" for kind in (*_KINDS, "dw"))
_BOTTLENECK = Members(
    ("stride", "num_conv_branches", "infer_mode", "dconv_scale", "ghost1", "se", "ghost2", "shortcut"),
    ("kernel_size", "in_channels", "conv_dw", "bn_dw", "id_tensor", *(f"dw_{name}" for name in _BRANCHES)),
)

FAMILIES = (
    Family(
        "GhostNetV3 GhostModule",
        (f"{_FILE}.GhostModule",),
        ghost,
        _ghost_fits,
        deploy=DeployForm(_slots, _write, all_or_nothing=True),
        example_shapes=_examples,
        members=Members(
            (
                *("mode", "gate_loc", "inter_mode", "scale", "infer_mode", "num_conv_branches", "dconv_scale"),
                *("gate_fn", "oup"),
            ),
            ("short_conv", "in_channels", "groups", "kernel_size", "id_tensor", *_TRAINED, *_KINDS.values()),
        ),
        # Of the other modes; deployed, it keeps the activations beside those that stand behind its convolutions.
        idle=(*_UNSCALED, "gate_fn", "short_conv", "primary_activation", "cheap_activation"),
    ),
    Family(
        "GhostNetV3 GhostBottleneck",
        (f"{_FILE}.GhostBottleneck",),
        bottleneck,
        _strided,
        deploy=DEPTHWISE,
        example_shapes=_examples,
        members=_BOTTLENECK,
        idle=_UNSCALED,
    ),
    Family(
        "GhostNetV3 GhostBottleneck without a depthwise convolution, or deployed",
        (f"{_FILE}.GhostBottleneck",),
        bottleneck,
        lambda module: _bottleneck_fits(module) and not _strided(module),
        example_shapes=_examples,
        members=_BOTTLENECK,
        idle=_UNSCALED,
    ),
    Family(
        "GhostNetV3",
        (f"{_FILE}.GhostNet",),
        net,
        lambda module: has_children(module, *_STEM, "classifier"),
        example_shapes=images(),
        members=Members(("cfgs", "dropout", *_STEM, "classifier")),
    ),
)
