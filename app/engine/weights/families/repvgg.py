"""RepVGG (arXiv 2101.03697): three branches, each a convolution and a batch norm or a batch norm alone."""

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import FamilyForm, Parts, Setting
from app.engine.weights.families.layers import IDENTITY, RELU, branch, convolve, groups_of, layer, normalise, weight_of

_CLASS = ("repvgg", "RepVGGBlock")
_SE_CLASS = ("se_block", "SEBlock")
_BRANCHES = ("rbr_dense", "rbr_1x1")


def _is_block(module: Module) -> bool:
    dense, pointwise = (module.child(name) for name in _BRANCHES)
    return any(part is not None and part.child("conv") is not None for part in (dense, pointwise))


def _parts(block: Module) -> Parts:
    identity = ("rbr_identity",) if block.child("rbr_identity") is not None else ()
    gate = ("se.down", "se.up") if block.child("se") is not None else ()
    return Parts(
        norms=(*(f"{name}.bn" for name in _BRANCHES), *identity),
        plain=tuple(f"{name}.conv" for name in _BRANCHES),
        biased=gate,
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
    _gate(block)
    dress(block, _CLASS, deploy=False, groups=groups, in_channels=weight.shape[1] * groups)
    return channels


def _gate(block: Module) -> None:
    """Squeeze and excitation, which stays as it is."""
    gate = block.child("se")
    if gate is None:
        add_child(block, "se", IDENTITY)
        return
    for name in ("down", "up"):
        convolve(layer(gate, name), groups=1)
    dress(gate, _SE_CLASS, input_channels=weight_of(layer(gate, "down")).shape[1])


FORM = FamilyForm("repvgg", "RepVGG", _is_block, "rbr_reparam", _parts, _dress)
