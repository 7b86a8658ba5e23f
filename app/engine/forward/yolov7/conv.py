"""YOLOv7's convolution blocks: Conv (and DWConv), RobustConv, GhostConv, and what is a convolution with a twist.

YOLOv5 and YOLOv9 have Conv, DWConv, GhostConv and Focus under the same paths, and they compute the same.
"""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.structure import become_sequential, has_children, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov7.plain import space_to_depth
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

# The methods that `fuse()` of YOLOv7 and of YOLOv5 puts in the place of `forward`: act(conv(x)).
_FUSED_FORWARDS = ("fuseforward", "forward_fuse")


def conv(block: Block, x: Value, ops: Ops) -> Any:
    """act(bn(conv(x))); in a file that the authors' code has fused, act(conv(x))."""
    y = block.conv(x)
    if block.module.forward_override is None:
        y = block.bn(y)
    return block.act(y)


def conv_fits(module: Module) -> bool:
    return has_children(module, "conv", "act") and only_children(module, "conv", "bn", "act")


def _conv_slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("conv", ("conv", "bn")),) if module.has("bn") and module.forward_override is None else ()


def _write_conv(module: Module, convolutions: Mapping[str, Any]) -> None:
    become_sequential(module, conv=convolutions["conv"], act=module.table("_modules")["act"])


def conv_family(read_as: str, *class_paths: str) -> Family:
    """act(bn(conv(x))) under these class paths; its loaders fuse whatever has a `bn` once more."""
    return Family(
        read_as,
        class_paths,
        conv,
        conv_fits,
        overrides=_FUSED_FORWARDS,
        deploy=DeployForm(_conv_slots, _write_conv),
        example_shapes=maps(),
    )


def robust_conv(block: Block, x: Value, ops: Ops) -> Value:
    """A depthwise Conv with a large kernel, a 1x1 convolution, and a factor per channel (LayerScale)."""
    return _scaled(block, block.conv1x1(block.conv_dw(x)), ops)


def robust_conv2(block: Block, x: Value, ops: Ops) -> Value:
    """A strided depthwise Conv, a transposed convolution that undoes the stride, and a factor per channel."""
    return _scaled(block, block.conv_deconv(block.conv_strided(x)), ops)


def _scaled(block: Block, x: Value, ops: Ops) -> Value:
    return x if block.gamma is None else ops.scale(x, block.gamma)


def _robust(name: str, describe: Any, depthwise: str, pointwise: str) -> Family:
    def slots(module: Module) -> tuple[Slot, ...]:
        return (Slot(pointwise, (pointwise, "gamma")),) if module.tensor("gamma") is not None else ()

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        module.replace_child(pointwise, convolutions[pointwise])
        module.table("_parameters")["gamma"] = None

    return Family(
        f"YOLOv7 {name}",
        (f"models.common.{name}",),
        describe,
        lambda module: has_children(module, depthwise, pointwise) and module.has("gamma"),
        deploy=DeployForm(slots, write, absorbs=False),
        example_shapes=maps(),
    )


def ghost_conv(block: Block, x: Value, ops: Ops) -> Value:
    """Half of the channels by a Conv, the rest by a cheap depthwise Conv of those; arXiv 1911.11907, figure 1."""
    primary = block.cv1(x)
    return ops.concat([primary, block.cv2(primary)])


def ghost(block: Block, x: Value, ops: Ops) -> Value:
    """Ghost bottleneck; arXiv 1911.11907, figure 3."""
    return ops.add(block.conv(x), block.shortcut(x))


def focus(block: Block, x: Value, ops: Ops) -> Any:
    """Each 2x2 tile of pixels into channels, then a Conv."""
    return block.conv(ops.apply("space_to_depth", space_to_depth, x))


def mixed_conv(block: Block, x: Value, ops: Ops) -> Value:
    """x + act(bn(convolutions of several kernel sizes side by side)); arXiv 1907.09595."""
    return ops.add(x, block.act(block.bn(ops.concat([branch(x) for branch in block.m]))))


def _is_residual(module: Module) -> bool:
    """Later versions of the class, with SiLU, have no shortcut."""
    activation = module.child("act")
    leaky = activation is not None and activation.class_path.endswith(".LeakyReLU")
    return leaky and has_children(module, "m", "bn")


FAMILIES = (
    conv_family("YOLOv7 Conv", "models.common.Conv"),
    conv_family("YOLOv5 DWConv", "models.common.DWConv"),
    _robust("RobustConv", robust_conv, "conv_dw", "conv1x1"),
    _robust("RobustConv2", robust_conv2, "conv_strided", "conv_deconv"),
    Family(
        "YOLOv7 GhostConv",
        ("models.common.GhostConv",),
        ghost_conv,
        lambda module: has_children(module, "cv1", "cv2"),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 Ghost",
        ("models.common.Ghost",),
        ghost,
        lambda module: has_children(module, "conv", "shortcut"),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 Focus",
        ("models.common.Focus",),
        focus,
        lambda module: has_children(module, "conv"),
        example_shapes=maps(multiple=2, divide=4),
    ),
    Family(
        "YOLOv7 MixConv2d",
        ("models.experimental.MixConv2d",),
        mixed_conv,
        _is_residual,
        example_shapes=maps(),
    ),
)
