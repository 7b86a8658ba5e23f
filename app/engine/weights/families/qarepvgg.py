"""QARepVGG (arXiv 2212.01593): RepVGG blocks with a norm behind the sum, some of their branches without one."""

import re

from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families import repvgg
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import (
    IDENTITY,
    RELU,
    branch,
    convolve,
    groups_of,
    layer,
    misshapen,
    normalise,
    weight_of,
)
from app.errors import ArchitectureMismatch

_CLASS = ("repvgg", "QARepVGGBlockV2")
_BRANCHES = ("rbr_dense", "rbr_1x1")
_STAGE = re.compile(r"(?:.*\.)?stage[1-4]\.(\d+)")


def _is_block(module: Module) -> bool:
    return module.child("rbr_dense") is not None and module.child("bn") is not None


def _normed(block: Module, name: str) -> bool:
    """Whether the branch is a convolution with a norm of its own."""
    found = block.child(name)
    return found is not None and found.child("conv") is not None


def _parts(block: Module) -> Parts:
    identity = ["rbr_identity"] if block.child("rbr_identity") is not None else []
    return Parts(
        norms=["bn", *identity, *(f"{name}.bn" for name in _BRANCHES if _normed(block, name))],
        plain=[f"{name}.conv" if _normed(block, name) else name for name in _BRANCHES],
    )


def _dress(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "rbr_dense.conv" if _normed(block, "rbr_dense") else "rbr_dense"))
    identity = block.child("rbr_identity")
    channels = weight.shape[0]
    groups = groups_of(weight, channels if identity is not None else setting.incoming)
    for name in _BRANCHES:
        if _normed(block, name):
            branch(block, name, groups, setting.eps, channels)
        else:
            _plain(layer(block, name), groups, weight)
    if identity is not None:
        normalise(identity, setting.eps, channels)
    elif weight.shape[1] * groups == channels and not _strided(block):
        add_child(block, "rbr_identity", IDENTITY)
    else:
        block.table("_modules")["rbr_identity"] = None
    normalise(layer(block, "bn"), setting.eps, channels)
    add_child(block, "nonlinearity", RELU, inplace=False)
    add_child(block, "se", IDENTITY)
    dress(block, _CLASS, deploy=False, groups=groups, in_channels=weight.shape[1] * groups)
    return channels


def _plain(convolution: Module, groups: int, beside: StoredTensor) -> None:
    if weight_of(convolution).shape[:2] != beside.shape[:2]:
        raise misshapen(convolution, "weight", f"as wide as the dense branch, {beside.shape[:2]}")
    convolve(convolution, groups)


def _strided(block: Module) -> bool:
    """Whether a block of equal widths halves the map: then it has no identity branch, which has no names to tell.

    The first block of each stage does. Raises ArchitectureMismatch for a block that stands elsewhere.
    """
    place = _STAGE.fullmatch(block.path)
    if place is None:
        raise ArchitectureMismatch(
            f"{block.path} takes in as many channels as it puts out: whether it has an identity branch depends on its "
            "stride, which is neither in the names nor told by its place in stage1 to stage4",
            remedy="Upload the whole model instead of its state dict.",
            unexpected=[block.path],
        )
    return int(place[1]) == 0


FORM = FamilyForm(
    "qarepvgg",
    "QARepVGG",
    (BlockForm(_is_block, _parts, _dress), *repvgg.FORM.blocks),
    deployed=holding("rbr_reparam"),
)
