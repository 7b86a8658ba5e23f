"""Convolution and norm, norm and Linear, Linear and norm as blocks of their own: LeViT (arXiv 2104.01136) and its kin.

Their `fuse()` leaves one torch.nn layer in the block's place, and so do we: what is written has no `fuse` any more.
"""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Shapes, Slot
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.structure import become, has_children, input_channels, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_HELD = "held"  # the one slot: the layer that takes the block's place


def in_its_place(*parts: str) -> DeployForm:
    """A deploy form in which one convolution or Linear stands in the block's place."""

    def slots(module: Module) -> tuple[Slot, ...]:
        return (Slot(_HELD, parts),)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        become(module, convolutions[_HELD])

    return DeployForm(slots, write)


def in_order(block: Block, x: Any, ops: Ops) -> Any:
    """The children one after the other."""
    for child in block:
        x = child(x)
    return x


def linear_norm(block: Block, x: Value, ops: Ops) -> Any:
    """bn(linear(x)) over tokens (batch, length, channels): the norm sees the tokens of all images as one batch."""
    return normed_tokens(block.bn, block.linear(x), ops)


def conv_norm_families(read_as: str, *paths: str, conv: str = "c") -> tuple[Family, ...]:
    """A convolution without bias, then a batch norm; `conv` is the convolution's name."""
    return (
        Family(
            read_as,
            paths,
            in_order,
            lambda module: has_children(module, conv, "bn") and only_children(module, conv, "bn"),
            deploy=in_its_place(conv, "bn"),
            example_shapes=maps(),
        ),
    )


def norm_linear_families(read_as: str, *paths: str, linear: str = "l") -> tuple[Family, ...]:
    """A batch norm, perhaps a drop-out, then a Linear."""
    return (
        Family(
            read_as,
            paths,
            in_order,
            lambda module: has_children(module, "bn", linear) and only_children(module, "bn", "drop", linear),
            deploy=in_its_place("bn", linear),
            example_shapes=maps(),
        ),
    )


def linear_norm_families(read_as: str, *paths: str) -> tuple[Family, ...]:
    """A Linear over tokens, then a batch norm."""
    return (
        Family(
            read_as,
            paths,
            linear_norm,
            lambda module: has_children(module, "linear", "bn") and only_children(module, "linear", "bn"),
            deploy=in_its_place("linear", "bn"),
            example_shapes=_tokens,
        ),
    )


def _tokens(module: Module) -> Shapes | None:
    taken = input_channels(module)
    return None if taken is None else ((2, 9, taken[0]),)


def _timm(name: str, *files: str) -> tuple[str, ...]:
    return tuple(f"timm.models.{file}.{name}" for file in files)


FAMILIES = (
    *conv_norm_families("timm ConvNorm", *_timm("ConvNorm", "repvit", "iformer"), *_timm("Conv2dNorm", "shvit")),
    *conv_norm_families("timm TinyViT ConvNorm", *_timm("ConvNorm", "tiny_vit", "efficientvit_msra"), conv="conv"),
    *conv_norm_families("timm LeViT ConvNorm", *_timm("ConvNorm", "levit"), conv="linear"),
    *norm_linear_families("timm NormLinear", *_timm("NormLinear", "repvit", "iformer", "shvit")),
    *norm_linear_families("timm LeViT NormLinear", *_timm("NormLinear", "levit", "efficientvit_msra"), linear="linear"),
    *linear_norm_families("timm LinearNorm", *_timm("LinearNorm", "levit")),
)
