"""What LeViT (arXiv 2104.01136) and its kin are built of: convolution and norm, Linear and norm, norm and Linear.

RepViT, SHViT, TinyViT and EfficientViT keep copies of the same classes. Their `fuse()` leaves one torch.nn layer in
the block's place, and so do we: what is written has no `fuse` any more.
"""

from typing import Any

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.structure import below, has_children, input_channels, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place, in_order
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_CONV = "torch.nn.modules.conv.Conv2d"
_LINEAR = "torch.nn.modules.linear.Linear"
_NORM_1D = "torch.nn.modules.batchnorm.BatchNorm1d"
CONV_NORM = "Conv2d_BN"
TINY_VIT = ("models.tiny_vit", "tiny_vit", "mobile_sam.modeling.tiny_vit_sam", "tinyvit.tiny_vit")
_FILES = (*TINY_VIT, "model.repvit", "model.shvit", "model.efficientvit", "levit", "levit_c")


def kin(name: str, *files: str) -> tuple[str, ...]:
    """The class under the module paths that the authors' own repositories give it."""
    return tuple(f"{file}.{name}" for file in files or _FILES)


def linear_norm(block: Block, x: Value, ops: Ops) -> Any:
    """bn(c(x)) over tokens (batch, length, channels): the norm sees the tokens of all images as one batch."""
    return normed_tokens(block.bn, block.c(x), ops)


def residual(block: Block, x: Value, ops: Ops) -> Value:
    """x + m(x): what training drops at random, inference never does."""
    return ops.add(x, block.m(x))


def _is(module: Module, *children: tuple[str, str]) -> bool:
    """Whether these are its children, in this order, of these classes."""
    return [(name, child.class_path if child else None) for name, child in module.members()] == list(children)


def _conv_norm_fits(module: Module) -> bool:
    return [name for name, _ in module.members()] == ["c", "bn"] and has_children(module, "c", "bn")


def _norm_linear_fits(module: Module) -> bool:
    return [name for name, _ in module.members()] == ["bn", "l"] and has_children(module, "bn", "l")


def _residual_fits(module: Module) -> bool:
    return has_children(module, "m") and type(module.attribute("drop", None)) in (int, float)


def around_convolution(module: Module) -> bool:
    """x plus a convolution of x, with its norm or after it was folded: one convolution."""
    inner = module.child("m")
    held = inner is not None and (inner.class_path == _CONV or inner.class_path.rpartition(".")[2] == CONV_NORM)
    return held and _residual_fits(module)


def _tokens(module: Module) -> Shapes | None:
    taken = input_channels(module)
    return None if taken is None else ((2, 9, taken[0]),)


def _residual_examples(module: Module) -> Shapes | None:
    """Maps, where it is known that it takes maps: a Linear may as well follow."""
    first = below(module, "m.0.c") or below(module, "m.pw1.c") or below(module, "m.c")
    return maps()(module) if first is not None and first.class_path == _CONV else None


FAMILIES = (
    Family(
        "LeViT Conv2d_BN",
        kin(CONV_NORM),
        in_order,
        _conv_norm_fits,
        deploy=in_its_place("c", "bn"),
        example_shapes=maps(),
        members=Members(("c", "bn")),
    ),
    Family(
        "LeViT Linear_BN",
        kin("Linear_BN", "levit"),
        linear_norm,
        lambda module: _is(module, ("c", _LINEAR), ("bn", _NORM_1D)),
        deploy=in_its_place("c", "bn"),
        example_shapes=_tokens,
        members=Members(("c", "bn")),
    ),
    Family(
        "LeViT BN_Linear",
        kin("BN_Linear"),
        in_order,
        _norm_linear_fits,
        deploy=in_its_place("bn", "l"),
        example_shapes=maps(),
        members=Members(("bn", "l")),
    ),
    Family(
        "LeViT Residual around a convolution",
        kin("Residual"),
        residual,
        around_convolution,
        deploy=in_its_place("m"),
        example_shapes=maps(),
        members=Members(("m", "drop")),
    ),
    Family(
        "LeViT Residual",
        kin("Residual"),
        residual,
        lambda module: _residual_fits(module) and not around_convolution(module),
        example_shapes=_residual_examples,
        members=Members(("m", "drop")),
    ),
)
