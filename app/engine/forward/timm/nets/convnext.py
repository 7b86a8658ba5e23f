"""ConvNeXt; arXiv 2201.03545, figure 4. It has no batch norms: a factor per channel folds into the layer before."""

from collections.abc import Mapping
from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import has_children, maps, put
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def block_of_convnext(block: Block, x: Value, ops: Ops) -> Any:
    """Depthwise convolution, norm and MLP beside a shortcut; the factor is applied where the channels are."""
    y = block.conv_dw(x)
    last = not block.use_conv_mlp
    if last:
        y = ops.apply("channels_last", torch.movedim, y, 1, -1)
    y = block.mlp(block.norm(y))
    if block.find("gamma") is not None:
        y = ops.scale(y, block.gamma, axis=len(y.shape) - 1 if last else 1)
    with ops.outside():
        if last:
            y = ops.apply("channels_first", torch.movedim, y, -1, 1)
        return ops.add(block.drop_path(y), through(block, x, "shortcut?"))


def _slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("mlp.fc2", ("mlp.fc2", "gamma")),) if module.tensor("gamma") is not None else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As the class is built without a factor."""
    put(module, "mlp.fc2", convolutions["mlp.fc2"])
    module.table("_parameters")["gamma"] = None


def _fits(module: Module) -> bool:
    return has_children(module, "conv_dw", "norm", "mlp", "drop_path") and module.has("gamma")


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.convnext.{name}",)


FAMILIES = (
    Family(
        "timm ConvNeXtBlock",
        _path("ConvNeXtBlock"),
        block_of_convnext,
        _fits,
        deploy=DeployForm(_slots, _write, absorbs=False),
        example_shapes=maps(),
    ),
    sequence("timm ConvNeXt Downsample", _path("Downsample"), "pool", "conv"),
    sequence("timm ConvNeXtStage", _path("ConvNeXtStage"), "downsample", "blocks"),
    Family(
        "timm ConvNeXt",
        _path("ConvNeXt"),
        lambda block, x, ops: through(block, x, "stem", "stages", "norm_pre", "head"),
        steps_fit("stem", "stages", "norm_pre", "head"),
        example_shapes=images(),
    ),
)
