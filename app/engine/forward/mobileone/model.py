"""MobileOne's whole model: five stages of blocks, a mean over the maps, a Linear."""

from typing import Any

import torch

from app.engine.forward.family import Family, Members
from app.engine.forward.mobileone.block import has_mobileone_branches
from app.engine.forward.repvgg.model import facts_of, is_stage, shapes_of, through
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.module import Module

_STAGES = ("stage1", "stage2", "stage3", "stage4")


def mobileone(block: Block, image: Any, ops: Ops) -> Any:
    """linear(flatten(gap(stages(image)))), table 2 of the paper."""
    x = block.stage0(image)
    for name in _STAGES:
        x = through(getattr(block, name), x)
    return block.linear(ops.apply("flatten", torch.flatten, block.gap(x), 1))


def _fits(module: Module) -> bool:
    first = module.child("stage0")
    stages = all(is_stage(module.child(name)) for name in _STAGES)
    return stages and has_children(module, "gap", "linear") and first is not None and has_mobileone_branches(first)


FAMILIES = (
    Family(
        "MobileOne MobileOne",
        ("mobileone.MobileOne", "models.mobileone.MobileOne"),
        mobileone,
        _fits,
        example_shapes=shapes_of,
        facts=lambda module: facts_of("MobileOne", module),
        members=Members(
            ("stage0", *_STAGES, "gap", "linear", "inference_mode", "in_planes", "cur_layer_idx"),
            ("use_se", "num_conv_branches"),
        ),
    ),
)
