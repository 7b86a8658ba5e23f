"""RepVGG's whole model: five stages of blocks, a mean over the maps, a Linear."""

from collections.abc import Mapping
from typing import Any

import torch

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.repvgg.branches import has_branches
from app.engine.forward.structure import has_children, input_channels, out_features
from app.engine.forward.trace import Block, Ops
from app.engine.ir.module import Module

_STAGES = ("stage1", "stage2", "stage3", "stage4")
_MODULE_LIST = "torch.nn.modules.container.ModuleList"
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_STRIDE = 32


def repvgg(block: Block, image: Any, ops: Ops) -> Any:
    """linear(flatten(gap(stages(image)))), table 2 of the paper."""
    x = block.stage0(image)
    for name in _STAGES:
        x = through(getattr(block, name), x)
    return block.linear(ops.apply("flatten", torch.flatten, block.gap(x), 1))


def through(stage: Block, x: Any) -> Any:
    """The blocks of a stage one after the other: a Sequential is called, the children of a ModuleList are."""
    if stage.module.class_path == _SEQUENTIAL:
        return stage(x)
    for inner in stage:
        x = inner(x)
    return x


def is_stage(module: Module | None) -> bool:
    return module is not None and module.class_path in (_MODULE_LIST, _SEQUENTIAL)


def _fits(module: Module) -> bool:
    first = module.child("stage0")
    stages = all(is_stage(module.child(name)) for name in _STAGES)
    return stages and has_children(module, "gap", "linear") and first is not None and has_branches(first)


def shapes_of(module: Module) -> Shapes | None:
    """Not square: the smallest map is 3 by 2. Squeeze and excitation takes no map that is wider than high."""
    taken = input_channels(module)
    return None if taken is None else ((2, taken[0], 3 * _STRIDE, 2 * _STRIDE),)


def facts_of(family: str, module: Module) -> Mapping[str, Any]:
    taken, classes = input_channels(module), out_features(module.child("linear"))
    known = {"channels": taken[0] if taken else None, "classes": classes, "stride": _STRIDE}
    return {"family": family, **{name: value for name, value in known.items() if value is not None}}


FAMILIES = (
    Family(
        "RepVGG RepVGG",
        ("repvgg.RepVGG", "models.repvgg.RepVGG", "model.repvgg.RepVGG"),
        repvgg,
        _fits,
        example_shapes=shapes_of,
        facts=lambda module: facts_of("RepVGG", module),
        members=Members(
            ("stage0", *_STAGES, "gap", "linear", "deploy", "in_planes", "override_groups_map", "cur_layer_idx"),
            ("use_se", "use_checkpoint"),
        ),
    ),
)
