"""RepVGG's blocks, with and without squeeze and excitation; arXiv 2101.03697."""

from typing import Any

from app.engine.forward.family import DeployForm, Family, Members
from app.engine.forward.repvgg.branches import BRANCHES, branch_slots, branches, has_branches, write_reparam
from app.engine.forward.squeeze import gated, mean_of_first_square
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def repvgg_block(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinearity(se(dense(x) + pointwise(x) + identity(x))), equation 2 of the paper."""
    return block.nonlinearity(block.se(branches(block, x, ops)))


def se_block(block: Block, x: Value, ops: Ops) -> Value:
    """The gate looks at a square as wide as the map."""
    return gated(block, x, ops.apply("avg_pool", mean_of_first_square, x), "down", "up", ops)


def _fits(module: Module) -> bool:
    return has_children(module, "nonlinearity", "se") and has_branches(module)


_PATHS = tuple(f"{path}.RepVGGBlock" for path in ("repvgg", "models.repvgg", "model.repvgg", "blocks_repvgg"))
_MEMBERS = ("nonlinearity", "se", "deploy", "groups", "in_channels")
_OF_QA_REPVGG = ("use_scale", "drop_path")  # that code base's RepVGGBlock drops paths in training

FAMILIES = (
    Family(
        "RepVGG RepVGGBlock",
        _PATHS,
        repvgg_block,
        lambda module: _fits(module) and module.child("rbr_reparam") is None,
        deploy=DeployForm(branch_slots, write_reparam),
        example_shapes=maps(),
        members=Members(_MEMBERS, (*BRANCHES, "id_tensor", *_OF_QA_REPVGG)),
    ),
    # A norm behind the deployed convolution (the authors' insert_bn.py, before quantisation) is folded along the chain.
    Family(
        "RepVGG RepVGGBlock, deployed",
        _PATHS,
        repvgg_block,
        lambda module: _fits(module) and module.child("rbr_reparam") is not None,
        example_shapes=maps(),
        members=Members(_MEMBERS, ("rbr_reparam", *_OF_QA_REPVGG)),
    ),
    Family(
        "RepVGG SEBlock",
        ("se_block.SEBlock", "models.se_block.SEBlock", "model.se_block.SEBlock", "blocks_repvgg.SEBlock"),
        se_block,
        lambda module: has_children(module, "down", "up"),
        members=Members(("down", "up", "input_channels")),
    ),
)
