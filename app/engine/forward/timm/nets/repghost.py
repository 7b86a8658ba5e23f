"""RepGhostNet; arXiv 2211.06088, figure 4."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, through
from app.engine.forward.structure import has_children, maps, silence
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_CHEAP = "cheap_operation"
_PRIMARY = "primary_conv.0"
_FUSED = ("fusion_conv", "fusion_bn")


def rep_ghost(block: Block, x: Value, ops: Ops) -> Any:
    """relu(cheap(p) + fusion(p)) with p = primary(x); the cheap branches are depthwise, the fused ones identities."""
    primary = block.primary_conv(x)
    y = block.cheap_operation(primary)
    for conv, norm in _fusions(block):
        y = ops.add(y, norm(conv(primary)))
    return block.relu(y)


def _fusions(block: Block) -> list[tuple[Block, Block]]:
    """The pairs beside the cheap operation; lists without any in the deployed form."""
    convs, norms = (block.find(name) for name in _FUSED)
    if not isinstance(convs, Block) or not isinstance(norms, Block):
        if convs or norms:
            raise UnknownFlow(block.module.path, "structure-differs", "its fusion branches are no modules")
        return []
    return list(zip(convs, norms, strict=False))


def _slots(module: Module) -> tuple[Slot, ...]:
    cheap = module.child(_CHEAP)
    slots = (Slot(_PRIMARY, (_PRIMARY, "primary_conv.1")),)
    if cheap is None or cheap.child("1") is None:
        return slots
    return (*slots, Slot(_CHEAP, (_CHEAP, *_FUSED)))


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """As `switch_to_deploy` leaves the block, which then returns at once; and without the norm before."""
    if _PRIMARY in convolutions:
        primary = module.child("primary_conv")
        assert primary is not None
        primary.replace_child("0", convolutions[_PRIMARY])
        silence(primary, "1")
    if _CHEAP in convolutions:
        module.replace_child(_CHEAP, convolutions[_CHEAP])
        for name in _FUSED:
            module.drop(name)
            module.state[name] = []


def rep_ghost_fits(module: Module) -> bool:
    primary = module.child("primary_conv")
    return has_children(module, _CHEAP, "relu") and primary is not None and has_children(primary, "0", "1")


def bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "ghost1", "conv_dw?", "bn_dw?", "se?", "ghost2")
    return ops.add(y, block.shortcut(x))


REP_GHOST_FORM = DeployForm(_slots, _write)

FAMILIES = (
    Family(
        "timm RepGhostModule",
        ("timm.models.repghost.RepGhostModule",),
        rep_ghost,
        rep_ghost_fits,
        deploy=REP_GHOST_FORM,
        example_shapes=maps(),
    ),
    Family(
        "timm RepGhostBottleneck",
        ("timm.models.repghost.RepGhostBottleneck",),
        bottleneck,
        lambda module: has_children(module, "ghost1", "ghost2", "shortcut"),
        example_shapes=maps(),
    ),
    sequence(
        "timm RepGhostNet",
        ("timm.models.repghost.RepGhostNet",),
        *("conv_stem", "bn1", "act1", "blocks", "global_pool", "conv_head", "act2", "flatten?", "classifier"),
        examples=images(),
    ),
)
