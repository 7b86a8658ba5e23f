"""YOLOv7's RepConv: a RepVGG block; arXiv 2101.03697."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family
from app.engine.forward.repvgg.branches import BRANCHES, branch_slots, branches, has_branches
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def rep_conv(block: Block, x: Value, ops: Ops) -> Any:
    return block.act(branches(block, x, ops))


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `fuse_repvgg_block` leaves the block: that method then returns at once."""
    for name in (*BRANCHES, "id_tensor"):
        module.drop(name)
    module.state.update(dict.fromkeys(BRANCHES), deploy=True)
    module.replace_child("rbr_reparam", convolutions["rbr_reparam"])


FAMILIES = (
    Family(
        "YOLOv7 RepConv",
        ("models.common.RepConv",),
        rep_conv,
        lambda module: has_children(module, "act") and has_branches(module),
        deploy=DeployForm(branch_slots, _write),
        example_shapes=maps(),
    ),
)
