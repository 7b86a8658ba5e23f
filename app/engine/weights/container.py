"""A file of named tensors as a value, whatever its format: read from it, and written as a file of the same kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.engine.ir.node import Object
from app.engine.ir.tensors import StoredTensor, tensor_of
from app.report import Removed

Tensors = Mapping[str, Object]
Write = Callable[[Tensors, Path], tuple[Removed, ...]]
Again = Callable[[Path], Tensors]


@dataclass(frozen=True, slots=True)
class Container:
    """The tensors of one file by their names, in its order; each is the node that stands for it in the inert tree.

    `write(tensors, target)` writes these instead, in the same nesting and with the same metadata, and returns what it
    left out of the file (optimizer state, copies of the weights); `again(target)` reads the tensors of such a file.
    """

    format: str
    tensors: Tensors
    key: str  # where a dictionary of the file has them: `state_dict`, `ema.module`; empty where it is them
    globals: tuple[str, ...]
    write: Write
    again: Again

    def stored(self, name: str) -> StoredTensor:
        return stored(self.tensors[name])


def stored(node: Object) -> StoredTensor:
    """The tensor that a node of a container stands for."""
    found = tensor_of(node)
    assert found is not None
    return found
