"""timm's norms: batch norm with its activation in one class, frozen batch norm, norms of the input."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.torch_nn.arguments import batch_norm_fits
from app.engine.forward.torch_nn.normalization import batch_norm, group_norm, layer_norm
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node, module_node

_SEQUENTIAL = ("torch.nn.modules.container", "Sequential")


def batch_norm_act(block: Block, x: Value, ops: Ops) -> Any:
    """act(drop(batch norm(x))); older versions have no drop, SyncBatchNormAct may have neither."""
    return acted(block, batch_norm(block, x, ops))


def acted(block: Block, y: Value) -> Any:
    """The drop and the activation of a norm's class."""
    for name in ("drop", "act"):
        child = block.find(name)
        y = y if child is None else child(y)
    return y


def activation_left(module: Module) -> Any:
    """What stays of such a class when its norm went into the convolution before it: its drop and its activation."""
    training = bool(module.attribute("training", False))
    kept = {name: child.node for name, child in module.children() if name in ("drop", "act")}
    idle = all(child.class_path == "torch.nn.modules.linear.Identity" for _, child in module.children())
    return identity_node(training) if idle else module_node(_SEQUENTIAL, training=training, modules=kept)


def _norm_act_fits(module: Module) -> bool:
    return batch_norm_fits(module) and all(name in ("drop", "act") for name, _ in module.members())


def group_norm_act(block: Block, x: Value, ops: Ops) -> Any:
    return acted(block, group_norm(block, x, ops))


def layer_norm_act(block: Block, x: Value, ops: Ops) -> Any:
    return acted(block, layer_norm(block, x, ops))


def layer_norm_2d(block: Block, x: Value, ops: Ops) -> Value:
    """Layer norm over the channels of a map."""
    return ops.apply("layer_norm", over_channels, x, block.find("weight"), block.find("bias"), block.eps)


def layer_norm_act_2d(block: Block, x: Value, ops: Ops) -> Any:
    return acted(block, layer_norm_2d(block, x, ops))


def over_channels(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return F.layer_norm(x.movedim(1, -1), (x.shape[1],), weight, bias, eps).movedim(-1, 1)


FAMILIES = (
    Family(
        "timm BatchNormAct2d",
        layer_paths("norm_act.BatchNormAct2d", "norm_act.SyncBatchNormAct", "norm_act.FrozenBatchNormAct2d"),
        batch_norm_act,
        _norm_act_fits,
        example_shapes=maps(),
        leaf=True,
        leftover=activation_left,
    ),
    Family(
        "timm GroupNormAct",
        layer_paths("norm_act.GroupNormAct", "norm_act.GroupNorm1Act"),
        group_norm_act,
        lambda module: has_children(module, "act"),
    ),
    Family("timm LayerNormAct", layer_paths("norm_act.LayerNormAct"), layer_norm_act),
    Family("timm LayerNormAct2d", layer_paths("norm_act.LayerNormAct2d"), layer_norm_act_2d),
    Family("timm GroupNorm", layer_paths("norm.GroupNorm", "norm.GroupNorm1"), group_norm, leaf=True),
    Family("timm LayerNorm", layer_paths("norm.LayerNorm", "norm.LayerNormFp32"), layer_norm, leaf=True),
    Family(
        "timm LayerNorm2d",
        layer_paths("norm.LayerNorm2d", "norm.LayerNorm2dFp32", "norm.LayerNormExp2d"),
        layer_norm_2d,
        leaf=True,
    ),
)
