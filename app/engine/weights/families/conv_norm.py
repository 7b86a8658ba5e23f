"""A convolution and a batch norm in one module, whatever the module around them is called: YOLOX, mmcv."""

from app.engine.ir.module import Module
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting
from app.engine.weights.families.layers import conv_bn


def is_conv_norm(module: Module) -> bool:
    """Of `conv` and `bn`, and nothing else; the convolution one over maps."""
    if {name for name, _ in module.children()} != {"conv", "bn"}:
        return False
    plain = not any(any(child.children()) for _, child in module.children())
    return plain and len(_weight_shape(module)) in (1, 4)  # of one dimension it is none, which is told


def _is_conv_module(module: Module) -> bool:
    """As above, but for square weights of even sizes, which are as usual of transposed convolutions."""
    if not is_conv_norm(module):
        return False
    shape = _weight_shape(module)
    return shape[:1] != shape[1:2] or any(size % 2 for size in shape[2:])


def _weight_shape(module: Module) -> tuple[int, ...]:
    conv = module.child("conv")
    weight = conv.tensor("weight") if conv is not None else None
    return weight.shape if weight is not None else ()


def _parts(block: Module) -> Parts:
    conv = block.child("conv")
    biased = conv is not None and conv.tensor("bias") is not None
    return Parts(norms=("bn",), plain=() if biased else ("conv",), biased=("conv",) if biased else ())


def _dress(block: Module, setting: Setting) -> int:
    return conv_bn(block, 1, setting.eps)


CONV_NORM = BlockForm(is_conv_norm, _parts, _dress)
FORMS = (
    FamilyForm("yolox", "YOLOX", (CONV_NORM,), eps=1e-3),
    FamilyForm(
        "mmcv",
        "mmcv ConvModule",
        (BlockForm(_is_conv_module, _parts, _dress),),
        assumes="each norm was taken to follow its convolution, none of them a transposed one: names do not tell",
    ),
)
