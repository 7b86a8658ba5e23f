"""RepLKNet (arXiv 2203.06717): norms before 1x1 convolutions, and large depthwise kernels with small ones beside."""

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.conv_norm import CONV_NORM
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import (
    GELU,
    IDENTITY,
    RELU,
    branch,
    conv_bn,
    layer,
    misshapen,
    normalise,
    weight_of,
)

_MODULE = "replknet"
_KERNEL = "large_kernel"
_POINTWISE = ("pw1", "pw2")
_BEFORE = {"prelkb_bn": "RepLKBlock", "preffn_bn": "ConvFFN"}


def _norm_before(block: Module) -> str | None:
    return next((name for name in _BEFORE if block.child(name) is not None), None)


def _is_block(module: Module) -> bool:
    """In its training form: where 1x1 convolutions have taken in their norms, the large kernel has become one, too."""
    first = module.child(_POINTWISE[0])
    return _norm_before(module) is not None and first is not None and first.child("bn") is not None


def _kernels(block: Module) -> tuple[str, ...]:
    """The depthwise convolutions of a block; an MLP has none."""
    if block.child("prelkb_bn") is None:
        return ()
    kernel = block.child(_KERNEL)
    small = kernel is not None and kernel.child("small_conv") is not None
    return (f"{_KERNEL}.lkb_origin", *[f"{_KERNEL}.small_conv"] * small)


def _parts(block: Module) -> Parts:
    sequences = (*_POINTWISE, *_kernels(block))
    before = _norm_before(block) or ""
    return Parts(norms=(before, *(f"{name}.bn" for name in sequences)), plain=[f"{name}.conv" for name in sequences])


def _dress(block: Module, setting: Setting) -> int:
    before = _norm_before(block) or ""
    first, last = (layer(block, f"{name}.conv") for name in _POINTWISE)
    channels, width = weight_of(first).shape[1], weight_of(first).shape[0]
    normalise(layer(block, before), setting.eps, channels)
    for name in _POINTWISE:
        conv_bn(layer(block, name), 1, setting.eps)
    if weight_of(last).shape[:2] != (channels, width):
        raise misshapen(last, "weight", f"({channels}, {width}, 1, 1)")
    if _kernels(block):
        add_child(layer(block, "pw1"), "nonlinear", RELU, inplace=False)
        _dress_kernel(block, width, setting.eps)
        add_child(block, "lk_nonlinear", RELU, inplace=False)
    else:
        add_child(block, "nonlinear", GELU, approximate="none")
    add_child(block, "drop_path", IDENTITY)
    dress(block, (_MODULE, _BEFORE[before]))
    return channels


def _dress_kernel(block: Module, width: int, eps: float) -> None:
    sizes = []
    for path in _kernels(block):
        branch(block, path, width, eps, width)
        sizes.append(weight_of(layer(block, f"{path}.conv")).shape[2])
    kernel = layer(block, _KERNEL)
    dress(
        kernel,
        (_MODULE, "ReparamLargeKernelConv"),
        kernel_size=sizes[0],
        small_kernel=sizes[1] if len(sizes) > 1 else None,
    )


FORM = FamilyForm(
    "replknet", "RepLKNet", (BlockForm(_is_block, _parts, _dress), CONV_NORM), deployed=holding("lkb_reparam")
)
