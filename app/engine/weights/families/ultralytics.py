"""YOLOv5, v8 to v12 and YOLOv9: Conv, RepConv of two convolutions, and RepVGGDW; their code sets eps to 1e-3."""

from typing import Final

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting
from app.engine.weights.families.layers import conv_bn, groups_of, layer, misshapen, normalise, weight_of

_CONV: Final = ("models.common", "Conv")
_REP_CONV: Final = ("models.common", "RepConvN")
_DEPTHWISE: Final = ("ultralytics.nn.modules.block", "RepVGGDW")
_SILU: Final = ("torch.nn.modules.activation", "SiLU")


def _children(module: Module) -> set[str]:
    return {name for name, _ in module.children()}


def is_conv(module: Module) -> bool:
    """A convolution and a batch norm, neither of them a block of its own."""
    return _children(module) == {"conv", "bn"} and not any(_children(child) for _, child in module.children())


def conv_parts(block: Module) -> Parts:
    return Parts(norms=("bn",), plain=("conv",))


def dress_conv(block: Module, setting: Setting) -> int:
    channels = conv_bn(block, 1, setting.eps)
    _activated(block, _CONV)
    return channels


def _activated(block: Module, class_path: tuple[str, str]) -> None:
    """Which non-linearity follows is not in the names, and does not matter to a fold."""
    add_child(block, "act", _SILU, inplace=False)
    dress(block, class_path)


def _is_rep_conv(module: Module) -> bool:
    return {"conv1", "conv2"} <= _children(module) <= {"conv1", "conv2", "bn"} and _hold_convs(module, "conv1", "conv2")


def _is_depthwise(module: Module) -> bool:
    return _children(module) == {"conv", "conv1"} and _hold_convs(module, "conv", "conv1")


def _hold_convs(module: Module, *names: str) -> bool:
    return all(is_conv(layer(module, name)) for name in names)


def _rep_conv_parts(block: Module) -> Parts:
    identity = ("bn",) if block.child("bn") is not None else ()
    return Parts(norms=("conv1.bn", "conv2.bn", *identity), plain=("conv1.conv", "conv2.conv"))


def _dress_rep_conv(block: Module, setting: Setting) -> int:
    identity = block.child("bn")
    weight = weight_of(layer(block, "conv1.conv"))
    groups = groups_of(weight, weight.shape[0] if identity is not None else None)
    channels = _dress_pair(block, ("conv1", "conv2"), groups, setting.eps)
    if identity is not None:
        normalise(identity, setting.eps, channels)
    else:
        block.table("_modules")["bn"] = None
    _activated(block, _REP_CONV)
    return channels


def _depthwise_parts(block: Module) -> Parts:
    return Parts(norms=("conv.bn", "conv1.bn"), plain=("conv.conv", "conv1.conv"))


def _dress_depthwise(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "conv.conv"))
    channels = _dress_pair(block, ("conv", "conv1"), groups_of(weight, weight.shape[0]), setting.eps)
    _activated(block, _DEPTHWISE)
    return channels


def _dress_pair(block: Module, names: tuple[str, str], groups: int, eps: float) -> int:
    """Two Convs without an activation, which are added."""
    first, second = (conv_bn(layer(block, name), groups, eps) for name in names)
    if first != second:
        raise misshapen(layer(block, f"{names[1]}.conv"), "weight", f"({first}, ...)")
    return first


BLOCKS: Final = (
    BlockForm(_is_rep_conv, _rep_conv_parts, _dress_rep_conv),
    BlockForm(_is_depthwise, _depthwise_parts, _dress_depthwise),
    BlockForm(is_conv, conv_parts, dress_conv),
)
FORMS: Final = tuple(
    FamilyForm(name, title, BLOCKS, eps=1e-3) for name, title in (("ultralytics", "Ultralytics"), ("yolov5", "YOLOv5"))
)
