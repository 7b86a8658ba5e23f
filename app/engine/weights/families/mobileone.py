"""MobileOne (arXiv 2206.04040): several convolution branches, a 1x1 branch and a batch norm, side by side."""

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import (
    IDENTITY,
    MODULE_LIST,
    RELU,
    branch,
    convolve,
    groups_of,
    layer,
    normalise,
    weight_of,
)

_CLASS = ("mobileone", "MobileOneBlock")
_SE_CLASS = ("mobileone", "SEBlock")


def _is_block(module: Module) -> bool:
    branches = module.child("rbr_conv")
    return branches is not None and branches.child("0") is not None


def _branches(block: Module) -> tuple[str, ...]:
    listed = block.child("rbr_conv")
    count = sum(1 for _ in listed.children()) if listed is not None else 0
    scale = ("rbr_scale",) if block.child("rbr_scale") is not None else ()
    return (*(f"rbr_conv.{number}" for number in range(count)), *scale)


def _parts(block: Module) -> Parts:
    branches = _branches(block)
    skip = ("rbr_skip",) if block.child("rbr_skip") is not None else ()
    gate = ("se.reduce", "se.expand") if block.child("se") is not None else ()
    return Parts(
        norms=(*(f"{name}.bn" for name in branches), *skip),
        plain=tuple(f"{name}.conv" for name in branches),
        biased=gate,
    )


def _dress(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "rbr_conv.0.conv"))
    skip = block.child("rbr_skip")
    groups = groups_of(weight, weight.shape[0] if skip is not None else setting.incoming)
    branches = _branches(block)
    channels = weight.shape[0]
    for name in branches:
        branch(block, name, groups, setting.eps, channels)
    if skip is not None:
        normalise(skip, setting.eps, channels)
    for name in ("rbr_skip", "rbr_scale"):
        block.table("_modules").setdefault(name, None)
    dress(layer(block, "rbr_conv"), MODULE_LIST)
    add_child(block, "activation", RELU, inplace=False)
    _gate(block)
    dress(
        block,
        _CLASS,
        inference_mode=False,
        groups=groups,
        stride=1,
        kernel_size=weight.shape[2],
        in_channels=weight.shape[1] * groups,
        out_channels=channels,
        num_conv_branches=sum(name.startswith("rbr_conv.") for name in branches),
    )
    return channels


def _gate(block: Module) -> None:
    """Squeeze and excitation, which stays as it is."""
    gate = block.child("se")
    if gate is None:
        add_child(block, "se", IDENTITY)
        return
    for name in ("reduce", "expand"):
        convolve(layer(gate, name), groups=1)
    dress(gate, _SE_CLASS)


FORM = FamilyForm("mobileone", "MobileOne", (BlockForm(_is_block, _parts, _dress),), holding("reparam_conv"))
