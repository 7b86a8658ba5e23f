"""The Diverse Branch Block: four branches of one to three linear layers; arXiv 2103.13425."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression
from app.engine.ir.graph import Value
from app.engine.ir.module import Module
from app.engine.ir.tensors import tensor_of

_BRANCHES = ("dbb_origin", "dbb_1x1", "dbb_avg", "dbb_1x1_kxk")
_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "groups")
_PATHS = ("diversebranchblock", "dbb", "models.diversebranchblock", "dbbnet.diversebranchblock")
_IN_OREPA = "basic"  # where the code of OREPA keeps the layers of its copy of the block


def diverse_branch_block(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinear(the sum of the branches), figure 1 of the paper; depthwise blocks have no 1x1 branch."""
    if block.find("dbb_reparam") is not None:
        return block.nonlinear(block.dbb_reparam(x))
    total = block.dbb_origin(x)
    for name in _BRANCHES[1:]:
        if block.has(name):
            total = ops.add(total, getattr(block, name)(x))
    return block.nonlinear(total)


def norm_and_pad(block: Block, x: Value, ops: Ops) -> Any:
    """A batch norm, and around the maps what it makes of zeros: zeros around its input (section 3.3)."""
    pixels = block.pad_pixels
    return block.bn(ops.pad(x, ((pixels, pixels),) * 2) if pixels > 0 else x)


def identity_based_1x1(block: Block, x: Value, ops: Ops) -> Value:
    """A 1x1 convolution whose kernel is stored as its difference from the identity."""
    kernel = expression(_total, block.weight, block.id_tensor)
    return ops.conv(x, kernel, groups=block.groups)  # of a 1x1 kernel no dilation matters


def _total(difference: Tensor, identity: Tensor) -> Tensor:
    return difference + identity


def _identity_fits(module: Module) -> bool:
    identity, weight = tensor_of(module.attribute("id_tensor", None)), module.tensor("weight")
    return identity is not None and weight is not None and identity.shape == weight.shape


def _fits(module: Module) -> bool:
    deployed = module.child("dbb_reparam") is not None
    branches = has_children(module, "dbb_origin", "dbb_avg", "dbb_1x1_kxk")
    return has_children(module, "nonlinear") and (deployed or branches)


def _pixels_fit(module: Module) -> bool:
    """Around the maps it computes the norm itself, and asks the norm's `affine` with which numbers."""
    pixels, norm = module.attribute("pad_pixels", None), module.child("bn")
    if type(pixels) is not int or pixels < 0 or norm is None:
        return False
    return pixels == 0 or norm.attribute("affine", True) is (norm.tensor("weight") is not None)


def _slots(module: Module) -> tuple[Slot, ...]:
    if module.child("dbb_reparam") is not None:
        return ()
    return (Slot("dbb_reparam", tuple(name for name in _BRANCHES if module.child(name) is not None)),)


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block: with `dbb_reparam` that method returns at once."""
    for name in _BRANCHES:
        module.drop(name)
    module.replace_child("dbb_reparam", convolutions["dbb_reparam"])


# The class reads its norm's numbers to pad with: alone it keeps the norm. In a DBB its branch takes it.
_NO_FORM_OF_ITS_OWN = DeployForm(lambda module: (), lambda module, convolutions: None)

FAMILIES = (
    Family(
        "DBB DiverseBranchBlock",
        (*(f"{path}.DiverseBranchBlock" for path in _PATHS), "blocks.DBB"),
        diverse_branch_block,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(("nonlinear", "deploy", "kernel_size", "out_channels", "groups"), (*_BRANCHES, "dbb_reparam")),
    ),
    Family(
        "DBB BNAndPadLayer",
        tuple(f"{path}.BNAndPadLayer" for path in (*_PATHS, _IN_OREPA)),
        norm_and_pad,
        _pixels_fit,
        deploy=_NO_FORM_OF_ITS_OWN,
        example_shapes=maps(),
        members=Members(("bn", "pad_pixels")),
    ),
    Family(
        "DBB IdentityBasedConv1x1",
        tuple(f"{path}.IdentityBasedConv1x1" for path in (*_PATHS, _IN_OREPA)),
        identity_based_1x1,
        _identity_fits,
        example_shapes=maps(),
        members=Members(
            ("weight", "bias", "id_tensor", *_CONVOLUTION),
            ("output_padding", "padding_mode", "_reversed_padding_repeated_twice"),
        ),
    ),
)
