"""The networks that OREPA's repository builds of its blocks: ResNet, ResNeXt, RepVGG; arXiv 2204.00826, section 4."""

from typing import Any

import torch

from app.engine.forward.family import Family, Members
from app.engine.forward.images import images
from app.engine.forward.repvgg.model import is_stage, repvgg, shapes_of
from app.engine.forward.steps import through
from app.engine.forward.structure import has_children, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_STAGES = ("stage0", "stage1", "stage2", "stage3", "stage4")
_NET = (*_STAGES, "gap", "linear")
_BASIC = ("conv1", "conv2")
_BOTTLENECK = ("conv1", "conv2", "conv3")
_OWN_ACTIVATION = ("nonlinear", "nonlinearity")


def residual(*steps: str) -> Any:
    """relu(conv(... conv1(x)) + shortcut(x)); the activations between lie within the blocks."""

    def describe(block: Block, x: Value, ops: Ops) -> Any:
        return ops.pointwise("relu", torch.relu, ops.add(through(block, x, *steps), block.shortcut(x)))

    return describe


def net(block: Block, image: Value, ops: Ops) -> Any:
    mean = block.gap(through(block, image, *_STAGES))
    return block.linear(ops.apply("flatten", torch.flatten, mean, 1))


def _residual_fits(*steps: str) -> Any:
    """Of blocks that hold their activation: of plain convolutions the class would have to call one itself."""

    def fits(module: Module) -> bool:
        if not has_children(module, *steps, "shortcut") or not only_children(module, *steps, "shortcut"):
            return False
        blocks = [module.child(name) for name in steps]
        return all(part is not None and any(map(part.child, _OWN_ACTIVATION)) for part in blocks)

    return fits


def _repvgg_fits(module: Module) -> bool:
    """As RepVGG's own network, its first block any of OREPA's."""
    first = module.child("stage0")
    staged = all(is_stage(module.child(name)) for name in _STAGES[1:])
    return staged and has_children(module, *_NET) and first is not None and first.child("nonlinear") is not None


def _residual(name: str, *steps: str) -> Family:
    return Family(
        f"OREPA {name}",
        (f"models.resnet.{name}", f"models.resnext.{name}"),
        residual(*steps),
        _residual_fits(*steps),
        example_shapes=maps(2),
        members=Members((*steps, "shortcut")),
    )


FAMILIES = (
    _residual("BasicBlock", *_BASIC),
    _residual("Bottleneck", *_BOTTLENECK),
    *(
        Family(
            f"OREPA {name}",
            (f"models.{name.lower()}.{name}",),
            net,
            lambda module: has_children(module, *_NET) and only_children(module, *_NET),
            example_shapes=images(),
            members=Members(("in_planes", *_NET)),
        )
        for name in ("ResNet", "ResNeXt")
    ),
    Family(
        "OREPA RepVGG",
        ("models.repvgg.RepVGG",),
        repvgg,
        _repvgg_fits,
        example_shapes=shapes_of,
        members=Members(("deploy", "override_groups_map", "use_se", "in_planes", "cur_layer_idx", *_NET)),
    ),
)
