"""The constants of an operation, taken from other tensors of the same names."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Operation
from app.engine.ir.tensors import StoredTensor

Find = Callable[[str], StoredTensor | None]


def reread(operation: Operation, find: Find) -> Operation:
    """The same operation with the tensors that `find` has by their paths; those that it has not stay."""
    if isinstance(operation, ir.Apply):
        args = tuple(_const(arg, find) for arg in operation.args)
        return replace(operation, args=args, kwargs={key: _const(arg, find) for key, arg in operation.kwargs.items()})
    parts = {part.name: _const(getattr(operation, part.name), find) for part in fields(operation)}
    return replace(operation, **parts)


def _const(part: Any, find: Find) -> Any:
    if not isinstance(part, Const) or not part.sources:
        return part
    return replace(part, sources=tuple(find(path) or old for path, old in zip(part.paths, part.sources, strict=True)))
