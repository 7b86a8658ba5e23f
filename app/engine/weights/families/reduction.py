"""What inference never reads in a state dict: what was taken out of its tree, and what the report says of it."""

from dataclasses import dataclass
from typing import Final

from app.engine.forward.family import PrunedLayer
from app.engine.ir.module import Module


@dataclass(frozen=True, slots=True)
class Reduced:
    removed: tuple[PrunedLayer, ...] = ()
    notes: tuple[str, ...] = ()


NOTHING: Final = Reduced()
_DIGITS: Final = 4


def layer_list(root: Module) -> Module | None:
    """The module whose children are numbered layers: the root itself, or its `model`."""
    for holder in (root, root.child("model")):
        names = [name for name, _ in holder.children()] if holder is not None else []
        if names and all(_is_number(name) for name in names):
            return holder
    return None


def _is_number(name: str) -> bool:
    """As Python writes the number of a layer."""
    return len(name) <= _DIGITS and name.isdecimal() and name == str(int(name))


def last_layer(root: Module) -> Module | None:
    """The head of a layer list."""
    layers = layer_list(root)
    return None if layers is None else max(layers.children(), key=lambda pair: int(pair[0]))[1]
