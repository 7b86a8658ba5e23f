"""RepGhostNet as its authors publish it; arXiv 2211.06088, figure 4."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family, Members
from app.engine.forward.images import images
from app.engine.forward.steps import through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.nets.repghost import REP_GHOST_FORM, rep_ghost, rep_ghost_fits
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module
from app.engine.ir.node import Global

_STEM = ("conv_stem", "bn1", "act1", "blocks", "global_pool", "conv_head", "act2")
_GATE = ("avg_pool", "conv_reduce", "act1", "conv_expand")


def bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "ghost1", "conv_dw?", "bn_dw?", "se?", "ghost2")
    if not block.enable_shortcut and block.in_chs == block.out_chs and block.stride == 1:
        return y
    return ops.add(y, block.shortcut(x))


def squeeze_excite(block: Block, x: Value, ops: Ops) -> Value:
    """x times a gate that two 1x1 convolutions make of its mean."""
    gate = ops.pointwise("hard_sigmoid", hard_sigmoid, through(block, x, *_GATE))
    return ops.pointwise("multiply", torch.mul, x, gate)


def hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3.0) / 6.0


def net(block: Block, image: Value, ops: Ops) -> Any:
    return block.classifier(ops.apply("flatten", torch.flatten, through(block, image, *_STEM), 1))


def _squeeze_fits(module: Module) -> bool:
    """The gate is a function that the file names and nobody calls: the authors' own, by its name."""
    gate = module.attribute("gate_fn", None)
    return isinstance(gate, Global) and gate.name == "hard_sigmoid" and has_children(module, *_GATE)


FAMILIES = (
    Family(
        "RepGhost RepGhostModule",
        ("model.repghost.RepGhostModule",),
        rep_ghost,
        rep_ghost_fits,
        deploy=REP_GHOST_FORM,
        example_shapes=maps(),
        members=Members(("deploy", "primary_conv", "fusion_conv", "fusion_bn", "cheap_operation", "relu")),
    ),
    Family(
        "RepGhost RepGhostBottleneck",
        ("model.repghost.RepGhostBottleneck",),
        bottleneck,
        lambda module: has_children(module, "ghost1", "ghost2", "shortcut"),
        example_shapes=maps(2),
        members=Members(
            ("stride", "enable_shortcut", "in_chs", "out_chs", "ghost1", "ghost2", "shortcut", "se"),
            ("conv_dw", "bn_dw"),
        ),
    ),
    Family(
        "GhostNet SqueezeExcite",
        ("model.repghost.SqueezeExcite", "ghostnetv3.SqueezeExcite"),
        squeeze_excite,
        _squeeze_fits,
        members=Members(("gate_fn", *_GATE)),
    ),
    Family(
        "GhostNet ConvBnAct",
        ("model.repghost.ConvBnAct", "ghostnetv3.ConvBnAct"),
        lambda block, x, ops: through(block, x, "conv", "bn1", "act1"),
        lambda module: has_children(module, "conv", "bn1", "act1"),
        example_shapes=maps(),
        members=Members(("conv", "bn1", "act1")),
    ),
    Family(
        "RepGhost RepGhostNet",
        ("model.repghost.RepGhostNet",),
        net,
        lambda module: has_children(module, *_STEM, "classifier"),
        example_shapes=images(),
        members=Members(("cfgs", "dropout", "num_classes", *_STEM, "classifier")),
    ),
)
