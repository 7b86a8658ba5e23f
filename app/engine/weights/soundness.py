"""Numbers that no fold can use, named by the tensor that holds them."""

import torch
from torch import Tensor

from app.engine.fuse.units import Units
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const
from app.errors import UnsupportedContent


def check_numbers(units: Units) -> None:
    """Raises UnsupportedContent for a weight that is not finite, or a variance of which there is no root."""
    for unit in units.units:
        for node in unit.trace.graph.nodes:
            operation = node.operation
            variance = operation.var if isinstance(operation, ir.BatchNorm) else None
            for const in node.consts():
                if const is not variance:
                    _check_finite(const)
                    _check_computed(const)
            if variance is not None and isinstance(operation, ir.BatchNorm):
                _check_variance(variance, operation.eps)


def check_layers(graph: ir.Graph) -> None:
    """As `check_numbers`, of convolutions, linear layers and norms alone: what masks are made of may be infinite."""
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, ir.BatchNorm) and operation.var is not None:
            _check_variance(operation.var, operation.eps)  # one that overflowed in half precision silences its channel
        if isinstance(operation, (ir.Conv, ir.Linear, ir.BatchNorm)):
            for const in node.consts():
                if not isinstance(operation, ir.BatchNorm) or const is not operation.var:
                    _check_finite(const)


def _check_finite(const: Const) -> None:
    for path, source in zip(const.paths, const.sources, strict=False):
        numbers = source.read()
        if numbers.is_floating_point() and not _all_finite(numbers):
            raise _unusable(path, "holds numbers that are not finite")


def _all_finite(numbers: Tensor) -> bool:
    """One infinite number makes the sum so; it is formed twenty times faster than each is looked at."""
    if numbers.dtype.itemsize < torch.float16.itemsize:  # neither is defined for all of them
        numbers = numbers.to(torch.float32)
    return bool(torch.isfinite(numbers.sum())) or bool(torch.isfinite(numbers).all())


def _check_computed(const: Const) -> None:
    """A direction of weight norm that has no length gives 0 / 0, in torch too."""
    if const.compute is not None and const.paths and not bool(torch.isfinite(const.value(torch.float64)).all()):
        parts = ", ".join(path.rpartition(".")[2] for path in const.paths[1:])
        raise _unusable(const.paths[0], f"makes numbers that are not finite, with {parts}: one divides by zero")


def _check_variance(const: Const, eps: float) -> None:
    for path, source in zip(const.paths, const.sources, strict=False):
        numbers = source.read().to(torch.float64)
        if not bool((numbers + eps > 0).all()):
            raise _unusable(path, f"holds variances that are not above -{eps:g}: there is no root of them")


def _unusable(path: str, what: str) -> UnsupportedContent:
    return UnsupportedContent(
        f"{path} {what}", remedy="Upload a checkpoint whose training did not diverge.", tensor=path
    )
