"""RepVGGplus: RepVGG with a gate behind the non-linearity, and auxiliary heads for training (`repvggplus.py`).

The variant with a custom L2 term passes that term along beside the maps; it belongs to the loss.
"""

from collections.abc import Sequence
from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family, Members, PrunedLayer
from app.engine.forward.repvgg.branches import BRANCHES, branch_slots, branches, has_branches, write_reparam
from app.engine.forward.repvgg.model import facts_of, shapes_of, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.checkpoint import total_bytes
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_STAGES = ("stage1", "stage2", "stage3_first", "stage3_second", "stage4")
_AUXILIARY = ("stage1_aux", "stage2_aux", "stage3_first_aux")
_PLAIN, _WITH_L2 = "repvggplus", "repvggplus_custom_L2"


def plus_block(block: Block, x: Value, ops: Ops) -> Any:
    """post_se(nonlinearity(dense(x) + pointwise(x) + identity(x)))"""
    return block.post_se(block.nonlinearity(branches(block, x, ops)))


def plus_stage(block: Block, x: Value, ops: Ops) -> Any:
    return through(block.blocks, x)


def plus_model(block: Block, image: Any, ops: Ops) -> Any:
    """The class scores, and those of the auxiliary heads: the published forward asks for them whatever the mode."""
    outputs: dict[str, Any] = {}
    x = block.stage0(image)
    for name in _STAGES:
        x = getattr(block, name)(x)
        if f"{name}_aux" in _AUXILIARY:
            outputs[f"{name}_aux"] = getattr(block, f"{name}_aux")(x)
    return {"main": block.linear(block.flatten(block.gap(x))), **outputs}


def plus_model_with_l2(block: Block, image: Any, ops: Ops) -> Any:
    """The class scores; deployed the published forward gives nothing else."""
    x = block.stage0(image)
    for name in _STAGES:
        x = getattr(block, name)(x)
    return block.linear(ops.apply("flatten", torch.flatten, block.gap(x), 1))


def _block_fits(module: Module) -> bool:
    """`deploy` says which branches the published forward runs."""
    deployed = module.child("rbr_reparam") is not None
    kept = has_children(module, "nonlinearity", "post_se") and has_branches(module)
    return kept and module.attribute("deploy", None) is deployed


def _model_fits(module: Module) -> bool:
    return has_children(module, "stage0", *_STAGES, "gap", "flatten", "linear", *_AUXILIARY)


def _model_with_l2_fits(module: Module) -> bool:
    heads = all(module.has(name) for name in _AUXILIARY) != (module.attribute("deploy", None) is True)
    return heads and has_children(module, "stage0", *_STAGES, "gap", "linear")


def _prune(module: Module) -> Sequence[PrunedLayer]:
    """As `switch_repvggplus_to_deploy` leaves the model, once every block is deployed."""
    blocks = [part for part in module.walk() if part.class_path.endswith(".RepVGGplusBlock")]
    heads = [head for name in _AUXILIARY if (head := module.child(name)) is not None]
    if not all(block.child("rbr_reparam") is not None for block in blocks):
        return ()
    pruned = [
        PrunedLayer(head.path, "an auxiliary head: the deployed model has none", total_bytes(head.node))
        for head in heads
    ]
    for name in _AUXILIARY:
        module.drop(name)
    module.state["deploy"] = True
    return pruned


FAMILIES = (
    Family(
        "RepVGG plus RepVGGplusBlock",
        (f"{_PLAIN}.RepVGGplusBlock", f"{_WITH_L2}.RepVGGplusBlock"),
        plus_block,
        _block_fits,
        deploy=DeployForm(branch_slots, write_reparam),
        example_shapes=maps(),
        members=Members(
            ("nonlinearity", "post_se", "deploy", "groups", "in_channels"), (*BRANCHES, "rbr_reparam", "id_tensor")
        ),
    ),
    Family(
        "RepVGG plus RepVGGplusStage",
        (f"{_PLAIN}.RepVGGplusStage", f"{_WITH_L2}.RepVGGplusStage"),
        plus_stage,
        lambda module: has_children(module, "blocks"),
        members=Members(("blocks", "in_planes", "use_checkpoint")),
    ),
    Family(
        "RepVGG plus RepVGGplus",
        (f"{_PLAIN}.RepVGGplus",),
        plus_model,
        _model_fits,
        example_shapes=shapes_of,
        facts=lambda module: facts_of("RepVGGplus", module),
        members=Members(("stage0", *_STAGES, "gap", "flatten", "linear", "deploy", "num_classes", *_AUXILIARY)),
    ),
    Family(
        "RepVGG plus RepVGGplus with L2",
        (f"{_WITH_L2}.RepVGGplus",),
        plus_model_with_l2,
        _model_with_l2_fits,
        example_shapes=shapes_of,
        facts=lambda module: facts_of("RepVGGplus", module),
        prune=_prune,
        members=Members(
            (
                *("stage0", *_STAGES, "gap", "linear", "deploy", "num_classes", "override_groups_map"),
                *("use_post_se", "use_checkpoint", "nonlinear", "in_planes", "cur_layer_idx"),
            ),
            _AUXILIARY,
        ),
        idle=_AUXILIARY,
    ),
)
