"""YOLOv7's blocks without parameters: they cut, join, fold and pool feature maps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def single(block: Block, x: Value, ops: Ops) -> Any:
    """MP and SP: a wrapper around one max pool."""
    return block.m(x)


def concat(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
    return ops.concat(maps, block.d)


def chunked_concat(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
    """The first halves of all maps, then the second halves."""
    halves = [half_of(ops, x, which, block.d) for which in (0, 1) for x in maps]
    return ops.concat(halves, block.d)


def shortcut(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
    return ops.add(maps[0], maps[1])


def folded_shortcut(block: Block, x: Value, ops: Ops) -> Value:
    """The sum of both halves of one map."""
    return ops.add(half_of(ops, x, 0, block.d), half_of(ops, x, 1, block.d))


def half_of(ops: Ops, x: Value, which: int, dim: int) -> Value:
    return ops.apply("half", half, x, which, dim)


def half(x: Tensor, which: int, dim: int) -> Tensor:
    """One half along `dim`; of an odd number the first is the larger."""
    middle = (x.shape[dim] + 1) // 2
    return x.narrow(dim, 0, middle) if which == 0 else x.narrow(dim, middle, x.shape[dim] - middle)


def reorganize(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("space_to_depth", space_to_depth, x)


def space_to_depth(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, 4c, h/2, w/2): pixels at even rows and columns, odd rows, odd columns, both odd."""
    phases = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return torch.cat(phases, 1)


def contract(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("contract", fold_pixels, x, block.gain)


def fold_pixels(x: Tensor, gain: int) -> Tensor:
    """(n, c, h, w) to (n, gain² c, h/gain, w/gain); the position within the tile is the slow channel index."""
    tiles = torch.unflatten(torch.unflatten(x, 3, (-1, gain)), 2, (-1, gain))  # (n, c, h/gain, gain, w/gain, gain)
    return torch.einsum("nchywx->nyxchw", tiles).flatten(1, 3)


def expand(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("expand", unfold_pixels, x, block.gain)


def unfold_pixels(x: Tensor, gain: int) -> Tensor:
    """The inverse of `fold_pixels`."""
    tiles = torch.unflatten(x, 1, (gain, gain, -1))  # (n, gain, gain, c, h, w)
    return torch.einsum("nyxchw->nchywx", tiles).flatten(4, 5).flatten(2, 3)


def _family(name: str, describe: Describe, *attributes: str) -> Family:
    def fits(module: Module) -> bool:
        return all(module.has(attribute) for attribute in attributes) and not any(module.tensors())

    return Family(f"YOLOv7 {name}", (f"models.common.{name}",), describe, fits)


FAMILIES = (
    *(
        Family(f"YOLOv7 {name}", (f"models.common.{name}",), single, lambda module: has_children(module, "m"))
        for name in ("MP", "SP")
    ),
    _family("Concat", concat, "d"),
    _family("Chuncat", chunked_concat, "d"),
    _family("Shortcut", shortcut, "d"),
    _family("Foldcut", folded_shortcut, "d"),
    _family("ReOrg", reorganize),
    _family("Contract", contract, "gain"),
    _family("Expand", expand, "gain"),
)
