"""RT-DETR's convolution layers: convolution, norm, activation; and the norm of its frozen backbones."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import has_children, maps, only_children
from app.engine.forward.torch_nn.arguments import number_fits
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node

_IDENTITY = "torch.nn.modules.linear.Identity"
_FILES = (
    "src.zoo.rtdetr.hybrid_encoder",
    "src.zoo.dfine.hybrid_encoder",
    "src.nn.backbone.common",
    "src.nn.backbone.presnet",
    "src.nn.backbone.csp_resnet",
)


def _layer(name: str, norm: str) -> Family:
    """act(norm(conv(x))), the norm under that name. No loader fuses the class: an identity takes the norm's place."""

    def describe(block: Block, x: Value, ops: Ops) -> Any:
        return block.act(getattr(block, norm)(block.conv(x)))

    def slots(module: Module) -> tuple[Slot, ...]:
        found = module.child(norm)
        return (Slot("conv", ("conv", norm)),) if found is not None and found.class_path != _IDENTITY else ()

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        module.replace_child("conv", convolutions["conv"])
        module.replace_child(norm, identity_node(bool(module.attribute("training", False))))

    return Family(
        f"RT-DETR {name}",
        tuple(f"{file}.{name}" for file in _FILES),
        describe,
        lambda module: has_children(module, "conv", norm, "act") and only_children(module, "conv", norm, "act"),
        deploy=DeployForm(slots, write),
        example_shapes=maps(),
        members=Members(always=("conv", norm, "act")),
    )


def frozen_norm(block: Block, x: Value, ops: Ops) -> Value:
    """A batch norm whose every number is a buffer."""
    return ops.batch_norm(x, block.running_mean, block.running_var, block.weight, block.bias, block.eps)


def _frozen_fits(module: Module) -> bool:
    there = all(module.tensor(name) is not None for name in ("weight", "bias", "running_mean", "running_var"))
    return there and number_fits(module, "eps", 1e-5)


FAMILIES = (
    _layer("ConvNormLayer", "norm"),
    _layer("ConvBNLayer", "bn"),
    Family(
        "RT-DETR FrozenBatchNorm2d",
        tuple(f"{file}.FrozenBatchNorm2d" for file in _FILES),
        frozen_norm,
        _frozen_fits,
        leaf=True,
    ),
)
