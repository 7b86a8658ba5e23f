"""Ultralytics' convolution blocks, plain and re-parameterised, and the form in which a fused one is kept.

Its loader asks each block whether something is left to fuse, and folds once more if so: a torch.nn.Sequential with the
names that the authors' own fused block has (`conv`, `act`) is left alone by every release.
"""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.structure import become_sequential, has_children, maps, only_children
from app.engine.forward.torch_nn.arguments import transposed_convolution_fits
from app.engine.forward.torch_nn.convolution import transposed_convolution
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.naming import described, paths
from app.engine.forward.yolov7.conv import conv_family, focus, ghost_conv
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FUSED = "forward_fuse"


def _is_fused(block: Block) -> bool:
    return block.module.forward_override is not None


def conv2(block: Block, x: Value, ops: Ops) -> Any:
    """act(bn(conv(x) + cv2(x))): a kxk and a 1x1 kernel before one batch norm."""
    if _is_fused(block):
        return block.act(block.conv(x))
    return block.act(block.bn(ops.add(block.conv(x), block.cv2(x))))


def rep_conv(block: Block, x: Value, ops: Ops) -> Any:
    """act(conv1(x) + conv2(x) + bn(x)), the identity branch where there is one; RepVGG, arXiv 2101.03697, figure 4."""
    if _is_fused(block):
        return block.act(block.conv(x))
    total = ops.add(block.conv1(x), block.conv2(x))
    if block.find("bn") is not None:
        total = ops.add(total, block.bn(x))
    return block.act(total)


def rep_depthwise(block: Block, x: Value, ops: Ops) -> Any:
    """act(conv(x) + conv1(x)): depthwise 7x7 and 3x3; YOLOv10, arXiv 2405.14458, section 3.3."""
    if _is_fused(block) or not block.has("conv1"):
        return block.act(block.conv(x))
    return block.act(ops.add(block.conv(x), block.conv1(x)))


def transposed(block: Block, x: Value, ops: Ops) -> Any:
    y = block.conv_transpose(x)
    return block.act(y if _is_fused(block) else block.bn(y))


def deployed(name: str, *consumes: str) -> DeployForm:
    """One convolution under `name` in the place of these parts, in a Sequential with the activation."""

    def slots(module: Module) -> tuple[Slot, ...]:
        if module.forward_override is not None:
            return ()
        there = tuple(part for part in consumes if module.child(part) is not None)
        return (Slot(name, there),) if len(there) > 1 else ()

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        activation = module.table("_modules")["act"]
        for part in (*consumes, "id_tensor"):
            module.drop(part)
        become_sequential(module, **{name: convolutions[name], "act": activation})

    return DeployForm(slots, write)


REP_CONV = deployed("conv", "conv1", "conv2", "bn")


def rep_conv_fits(module: Module) -> bool:
    """The training form, or what the authors' `fuse()` has left."""
    if module.forward_override is not None:
        return has_children(module, "conv", "act") and only_children(module, "conv", "act")
    return has_children(module, "conv1", "conv2", "act") and only_children(module, "conv1", "conv2", "bn", "act")


def _conv2_fits(module: Module) -> bool:
    if module.forward_override is not None:
        return has_children(module, "conv", "act") and only_children(module, "conv", "act")
    return has_children(module, "conv", "cv2", "bn", "act") and only_children(module, "conv", "cv2", "bn", "act")


def _depthwise_fits(module: Module) -> bool:
    return has_children(module, "conv", "act") and only_children(module, "conv", "conv1", "act")


def _transposed_fits(module: Module) -> bool:
    needed = ("conv_transpose", "act") if module.forward_override is not None else ("conv_transpose", "bn", "act")
    return has_children(module, *needed) and only_children(module, "conv_transpose", "bn", "act")


def _family(name: str, file: str, describe: Any, fits: Any, form: DeployForm) -> Family:
    return Family(
        f"Ultralytics {name}",
        paths(file, name),
        describe,
        fits,
        overrides=(_FUSED,),
        deploy=form,
        example_shapes=maps(),
    )


FAMILIES = (
    conv_family("Ultralytics Conv", *paths("conv", "Conv")),
    conv_family("Ultralytics DWConv", *paths("conv", "DWConv")),
    _family("Conv2", "conv", conv2, _conv2_fits, deployed("conv", "conv", "cv2", "bn")),
    _family("RepConv", "conv", rep_conv, rep_conv_fits, REP_CONV),
    _family("RepVGGDW", "block", rep_depthwise, _depthwise_fits, deployed("conv", "conv", "conv1")),
    _family("ConvTranspose", "conv", transposed, _transposed_fits, deployed("conv_transpose", "conv_transpose", "bn")),
    Family(
        "Ultralytics DWConvTranspose2d",
        paths("conv", "DWConvTranspose2d"),
        transposed_convolution,
        transposed_convolution_fits,
        defaults={"padding_mode": "zeros", "groups": 1},
        example_shapes=maps(),
    ),
    *described(ghost_conv, ("cv1", "cv2"), "conv", "GhostConv"),
    Family(
        "Ultralytics Focus",
        paths("conv", "Focus"),
        focus,
        lambda module: has_children(module, "conv"),
        example_shapes=maps(multiple=2, divide=4),
    ),
)
