"""ACNet (arXiv 1908.03930): a square, a vertical and a horizontal convolution, each with its batch norm."""

from app.engine.ir.module import Module
from app.engine.weights.dress import dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import convolve, groups_of, layer, misshapen, normalise, weight_of

_CLASS = ("acb", "ACBlock")
_SIDES = ("square", "ver", "hor")


def _is_block(module: Module) -> bool:
    return module.child("square_conv") is not None


def _parts(block: Module) -> Parts:
    return Parts(norms=[f"{side}_bn" for side in _SIDES], plain=[f"{side}_conv" for side in _SIDES])


def _dress(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "square_conv"))
    groups = groups_of(weight, setting.incoming)
    for side in _SIDES:
        convolution = layer(block, f"{side}_conv")
        convolve(convolution, groups)
        normalise(layer(block, f"{side}_bn"), setting.eps, weight.shape[0])
        if weight_of(convolution).shape[:2] != weight.shape[:2]:
            raise misshapen(convolution, "weight", f"as wide as square_conv, {weight.shape[:2]}")
    dress(block, _CLASS, deploy=False)
    return weight.shape[0]


FORM = FamilyForm("acnet", "ACNet", (BlockForm(_is_block, _parts, _dress),), holding("fused_conv"))
