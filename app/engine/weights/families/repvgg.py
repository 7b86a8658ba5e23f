"""RepVGG (arXiv 2101.03697): three branches, each a convolution and a batch norm or a batch norm alone."""

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import (
    IDENTITY,
    RELU,
    branch,
    conv_bn,
    convolve,
    groups_of,
    layer,
    normalise,
    weight_of,
)

_CLASS = ("repvgg", "RepVGGBlock")
_SE_CLASS = ("se_block", "SEBlock")
_PLUS_CLASS = ("repvggplus", "RepVGGplusBlock")
_BRANCHES = ("rbr_dense", "rbr_1x1")
_GATES = ("se", "post_se")


def _is_block(module: Module) -> bool:
    dense, pointwise = (module.child(name) for name in _BRANCHES)
    return any(part is not None and part.child("conv") is not None for part in (dense, pointwise))


def _parts(block: Module) -> Parts:
    identity = ("rbr_identity",) if block.child("rbr_identity") is not None else ()
    gates = tuple(f"{gate}.{part}" for gate in _GATES if block.child(gate) is not None for part in ("down", "up"))
    return Parts(
        norms=(*(f"{name}.bn" for name in _BRANCHES), *identity),
        plain=tuple(f"{name}.conv" for name in _BRANCHES),
        biased=gates,
    )


def _dress(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "rbr_dense.conv"))
    identity = block.child("rbr_identity")
    groups = groups_of(weight, weight.shape[0] if identity is not None else setting.incoming)
    channels = weight.shape[0]
    for name in _BRANCHES:
        branch(block, name, groups, setting.eps, channels)
    if identity is not None:
        normalise(identity, setting.eps, channels)
    else:
        block.table("_modules")["rbr_identity"] = None
    add_child(block, "nonlinearity", RELU, inplace=False)
    plus = block.child("post_se") is not None
    _gate(block, "post_se" if plus else "se")
    dress(block, _PLUS_CLASS if plus else _CLASS, deploy=False, groups=groups, in_channels=weight.shape[1] * groups)
    return channels


def _gate(block: Module, name: str) -> None:
    """Squeeze and excitation, before the non-linearity or (RepVGGplus) behind it, which stays as it is."""
    gate = block.child(name)
    if gate is None:
        add_child(block, name, IDENTITY)
        return
    for part in ("down", "up"):
        convolve(layer(gate, part), groups=1)
    dress(gate, _SE_CLASS, input_channels=weight_of(layer(gate, "down")).shape[1])


def _is_conv_bn(module: Module) -> bool:
    """What the authors' heads for training begin with, and a deployed convolution with a norm put behind it."""
    *_, above, name = ("", "", *module.path.split("."))
    known = above.endswith("_aux") or name == "rbr_reparam"
    return known and module.child("conv") is not None and module.child("bn") is not None


def _conv_bn_parts(block: Module) -> Parts:
    biased = layer(block, "conv").tensor("bias") is not None
    return Parts(norms=("bn",), plain=() if biased else ("conv",), biased=("conv",) if biased else ())


def _dress_conv_bn(block: Module, setting: Setting) -> int:
    deployed = block.path.endswith("rbr_reparam")
    groups = groups_of(weight_of(layer(block, "conv")), setting.incoming) if deployed else 1
    return conv_bn(block, groups, setting.eps)


FORM = FamilyForm(
    "repvgg",
    "RepVGG",
    (BlockForm(_is_block, _parts, _dress), BlockForm(_is_conv_bn, _conv_bn_parts, _dress_conv_bn)),
    holding("rbr_reparam"),
)
