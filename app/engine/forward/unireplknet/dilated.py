"""UniRepLKNet's Dilated Reparam Block: small dilated kernels beside a large one; arXiv 2311.15599, section 3.1."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_LARGE = "lk_origin"
_NORM = "origin_bn"
_PUBLISHED = {  # kernel size and dilation, of all the blocks' branches
    *((5, 1), (9, 2), (3, 4), (3, 5), (3, 7), (7, 2), (3, 3), (5, 2), (3, 2), (3, 1)),
}


def dilated_block(block: Block, x: Value, ops: Ops) -> Any:
    """The large kernel and each dilated one, every one with its norm; or the one convolution that they became."""
    large = block.lk_origin(x)
    if not block.has(_NORM):
        return large
    total = block.origin_bn(large)
    for conv, norm in branch_names(block.module):
        total = ops.add(total, getattr(block, norm)(getattr(block, conv)(x)))
    return total


def branch_names(module: Module) -> list[tuple[str, str]]:
    """The children's names of each dilated branch: its convolution, its norm."""
    pairs = zip(module.attribute("kernel_sizes"), module.attribute("dilates"), strict=True)
    return [(f"dil_conv_k{size}_{step}", f"dil_bn_k{size}_{step}") for size, step in pairs]


def dilated_parts(module: Module) -> tuple[str, ...]:
    """Everything that the large kernel takes in; nothing of a block that is deployed."""
    if not module.has(_NORM):
        return ()
    return (_LARGE, _NORM, *(name for pair in branch_names(module) for name in pair))


def write_large_kernel(module: Module, convolution: Any) -> None:
    """As `merge_dilated_branches` leaves the block."""
    for name in dilated_parts(module):
        if name != _LARGE:
            module.drop(name)
    module.replace_child(_LARGE, convolution)


def _slots(module: Module) -> tuple[Slot, ...]:
    parts = dilated_parts(module)
    return (Slot(_LARGE, parts),) if parts else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    write_large_kernel(module, convolutions[_LARGE])


def _fits(module: Module) -> bool:
    sizes, steps = module.attribute("kernel_sizes", None), module.attribute("dilates", None)
    lists = isinstance(sizes, list) and isinstance(steps, list) and len(sizes) == len(steps)
    if not lists or not has_children(module, _LARGE):
        return False
    return not module.has(_NORM) or has_children(module, *dilated_parts(module))


FAMILIES = (
    Family(
        "UniRepLKNet DilatedReparamBlock",
        ("unireplknet.DilatedReparamBlock",),
        dilated_block,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(
            (_LARGE, "attempt_use_lk_impl", "kernel_sizes", "dilates"),
            (_NORM, *(f"dil_{kind}_k{size}_{step}" for kind in ("conv", "bn") for size, step in sorted(_PUBLISHED))),
        ),
    ),
)
