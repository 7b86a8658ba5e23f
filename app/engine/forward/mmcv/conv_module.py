"""ConvModule: convolution, norm and activation in the order that its instance states."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node

_PARTS = ("conv", "norm", "act")
_FLAGS = ("with_norm", "with_activation")
_IDENTITY = "torch.nn.modules.linear.Identity"
# A function that folds the norm in at every call; it computes the same, and must not meet an identity.
_EFFICIENT = "efficient_conv_bn_eval_forward"


def conv_module(block: Block, x: Value, ops: Ops) -> Any:
    for part in block.order:
        if part == "conv":
            x = block.conv(block.padding_layer(x) if block.with_explicit_padding else x)
        elif part == "norm" and block.with_norm:
            x = getattr(block, block.norm_name)(x)
        elif part == "act" and block.with_activation:
            x = block.activate(x)
    return x


def separable(block: Block, x: Value, ops: Ops) -> Any:
    """A depthwise convolution, then a 1x1."""
    return block.pointwise_conv(block.depthwise_conv(x))


def _norm(module: Module) -> Module | None:
    name = module.attribute("norm_name", None)
    return module.child(name) if isinstance(name, str) and module.attribute("with_norm") else None


def _fits(module: Module) -> bool:
    order = module.attribute("order", None)
    flags = all(isinstance(module.attribute(flag, None), bool) for flag in _FLAGS)
    if not flags or not isinstance(order, (tuple, list)) or sorted(map(str, order)) != sorted(_PARTS):
        return False
    needed = ["conv"]
    needed += ["activate"] if module.attribute("with_activation") else []
    needed += ["padding_layer"] if module.attribute("with_explicit_padding", False) else []
    return has_children(module, *needed) and (not module.attribute("with_norm") or _norm(module) is not None)


def _slots(module: Module) -> tuple[Slot, ...]:
    norm = _norm(module)
    plain = norm is not None and norm.class_path != _IDENTITY
    return (Slot("conv", ("conv", str(module.attribute("norm_name")))),) if plain else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As mmengine's `fuse_conv_bn` leaves the module: an identity under the norm's name."""
    module.replace_child("conv", convolutions["conv"])
    norm = str(module.attribute("norm_name"))
    module.replace_child(norm, identity_node(bool(module.attribute("training", False))))
    if module.has(_EFFICIENT):
        module.state[_EFFICIENT] = None


FAMILIES = (
    Family(
        "mmcv ConvModule",
        ("mmcv.cnn.bricks.conv_module.ConvModule",),
        conv_module,
        _fits,
        defaults={"with_explicit_padding": False},
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
    ),
    Family(
        "mmcv DepthwiseSeparableConvModule",
        ("mmcv.cnn.bricks.depthwise_separable_conv_module.DepthwiseSeparableConvModule",),
        separable,
        lambda module: has_children(module, "depthwise_conv", "pointwise_conv"),
        example_shapes=maps(),
    ),
)
