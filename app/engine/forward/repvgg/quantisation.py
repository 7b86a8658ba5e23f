"""QARepVGG: RepVGG blocks with a norm behind the sum, for quantisation; arXiv 2212.01593."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.repvgg.branches import BRANCHES, branch_slots, branches, has_branches, write_reparam
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_VARIANTS = ("", "V1", "V2", "V3", "V4", "V5")  # they differ in which branch has a norm of its own
_MEMBERS = Members(
    ("nonlinearity", "se", "deploy", "groups", "in_channels", "use_scale", "drop_path"),
    (*BRANCHES, "bn", "rbr_reparam", "id_tensor", "_id_tensor"),
)


def qa_repvgg_block(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinearity(bn(se(dense(x) + pointwise(x) + identity(x)))), figure 4 of the paper.

    Paths are dropped in training only.
    """
    gated = block.se(branches(block, x, ops))
    return block.nonlinearity(gated if block.find("rbr_reparam") is not None else block.bn(gated))


def _fits(module: Module) -> bool:
    deployed = module.child("rbr_reparam") is not None
    return (
        has_children(module, "nonlinearity", "se") and has_branches(module) and (deployed or has_children(module, "bn"))
    )


def _slots(module: Module) -> tuple[Slot, ...]:
    """Behind a gate the norm can't reach the branches: such a block has no deploy form."""
    gate = module.child("se")
    plain = gate is not None and gate.class_path == "torch.nn.modules.linear.Identity"
    return tuple(Slot(slot.name, (*slot.consumes, "bn")) for slot in branch_slots(module)) if plain else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    write_reparam(module, convolutions)
    module.drop("bn")


FAMILIES = tuple(
    Family(
        f"QARepVGG QARepVGGBlock{variant}",
        (f"repvgg.QARepVGGBlock{variant}",),
        qa_repvgg_block,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=_MEMBERS,
        idle=("bn",),  # beside `rbr_reparam`
    )
    for variant in _VARIANTS
)
