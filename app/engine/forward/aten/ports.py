"""The inputs of an exported program, and what their shapes say of its symbolic sizes."""

from collections.abc import Mapping

import torch

from app.engine.ir.exported import Exported, TensorMeta, TensorRef
from app.engine.ir.program import Port
from app.engine.ir.symbolic import Size, UnknownSize, evaluate, solve, text


def ports(exported: Exported) -> tuple[Port, ...]:
    """The tensors that a caller gives, in order; nested ones one by one; numbers are fixed at export."""
    return tuple(_port(name, meta) for name, meta in user_tensors(exported))


def user_tensors(exported: Exported) -> list[tuple[str, TensorMeta]]:
    """Name and description of each tensor that a caller gives."""
    names = [spec.value.name for spec in exported.inputs if spec.kind == "user" and isinstance(spec.value, TensorRef)]
    return [(name, exported.graph.tensors[name]) for name in names]


def _port(name: str, meta: TensorMeta) -> Port:
    dims = tuple(size if isinstance(size, int) else text(size) for size in meta.sizes)
    return Port(name, meta.dtype or torch.float32, dims)


def symbols_at(exported: Exported, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Every symbol that the inputs' shapes tell; those in derived sizes (`2*s0`) are solved for."""
    pairs: list[tuple[Size, int]] = []
    for name, meta in user_tensors(exported):
        if name in shapes and len(shapes[name]) == len(meta.sizes):
            pairs.extend(zip(meta.sizes, shapes[name], strict=True))
    found: dict[str, int] = {}
    while True:
        told = {name: value for size, number in pairs for name, value in solve(size, number, found).items()}
        if not told:
            return found
        found |= told


def shape_of(meta: TensorMeta, symbols: Mapping[str, int]) -> tuple[int, ...] | None:
    """The shape that the file gives at these symbols; None where it depends on the values."""
    try:
        shape = tuple(evaluate(size, symbols) for size in meta.sizes)
    except UnknownSize:
        return None
    return shape if min(shape, default=0) >= 0 else None


def in_order(meta: TensorMeta, symbols: Mapping[str, int]) -> bool:
    """Whether a tensor fills its memory, the last dimension first."""
    step = 1
    for size, stride in zip(reversed(meta.sizes), reversed(meta.strides), strict=True):
        number = number_of(size, symbols)
        if number is None or (number != 1 and number_of(stride, symbols) != step):
            return False
        step *= number
    return number_of(meta.offset, symbols) == 0


def number_of(size: Size | None, symbols: Mapping[str, int]) -> int | None:
    """The number that an expression comes to; None where it is not known."""
    try:
        return None if size is None else evaluate(size, symbols)
    except UnknownSize:
        return None
