"""YOLOv6's ConvModule and its wrappers. Its loader folds whatever is of that class and has a `bn`."""

from collections.abc import Callable, Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.structure import become_sequential, has_children, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FUSED = "forward_fuse"
COMMON = "yolov6.layers.common"


def conv_module(block: Block, x: Value, ops: Ops) -> Any:
    """act(bn(conv(x))), or bn(conv(x)) where the block has no activation."""
    y = block.conv(x)
    if block.module.forward_override is None:
        y = block.bn(y)
    return block.act(y) if block.find("act") is not None else y


def _fits(module: Module) -> bool:
    """`activation_type` says whether the block has an activation; its first versions always had one."""
    stated = module.attribute("activation_type", "always") is not None
    normalised = module.forward_override is not None or has_children(module, "bn")
    sound = stated == has_children(module, "act") and normalised
    return sound and has_children(module, "conv") and only_children(module, "conv", "bn", "act")


def _slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("conv", ("conv", "bn")),) if module.has("bn") and module.forward_override is None else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    activation = module.table("_modules").get("act")
    become_sequential(module, conv=convolutions["conv"], **({} if activation is None else {"act": activation}))


def wrapped(name: str) -> Callable[[Block, Value, Ops], Any]:
    """A block that only calls its child of that name."""

    def describe(block: Block, x: Value, ops: Ops) -> Any:
        return getattr(block, name)(x)

    return describe


def scale(block: Block, x: Value, ops: Ops) -> Value:
    """A factor and, where there is one, an offset per channel."""
    y = ops.scale(x, block.weight)
    return y if block.find("bias") is None else ops.shift(y, block.bias)


def wrapper(child: str, *names: str) -> tuple[Family, ...]:
    return tuple(
        Family(
            f"YOLOv6 {name}",
            (f"{COMMON}.{name}",),
            wrapped(child),
            lambda module: has_children(module, child) and only_children(module, child),
            example_shapes=maps(),
        )
        for name in names
    )


FAMILIES = (
    Family(
        "YOLOv6 ConvModule",
        tuple(f"{COMMON}.{name}" for name in ("ConvModule", "Conv", "SimConv", "Conv_C3")),
        conv_module,
        _fits,
        overrides=(_FUSED,),
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
    ),
    *wrapper("block", "ConvBNReLU", "ConvBNSiLU", "ConvBN", "ConvBNHS", "ConvWrapper", "SimConvWrapper"),
    *wrapper("upsample_transpose", "Transpose"),
    Family(
        "YOLOv6 ScaleLayer",
        (f"{COMMON}.ScaleLayer",),
        scale,
        lambda module: module.tensor("weight") is not None,
    ),
)
