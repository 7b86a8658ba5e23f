"""A live model of an installed package as an inert tree around the tensors of a file."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import torch

from app.engine.ir.module import Module, module_node, ordered_dict
from app.engine.ir.node import Global, Object
from app.engine.ir.sets import OrderedSet

_TABLES: Final = ("_parameters", "_buffers", "_modules")
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes)


def tree_of(model: torch.nn.Module, tensors: Mapping[str, Object]) -> Module:
    """The modules of `model` with their plain attributes; each tensor is the file's own node of that name.

    A module that stands in several places is one node in all of them, as in the model. What the file has not (counters
    of batches, buffers that are not saved) is not in the tree.
    """
    return Module(_Copy(tensors, {}).module(model, ""))


class _Copy:
    """Remembers what was made of each module, so that shared ones stay shared."""

    def __init__(self, tensors: Mapping[str, Object], made: dict[int, Object]) -> None:
        self.tensors, self.made = tensors, made

    def module(self, live: torch.nn.Module, path: str) -> Object:
        if id(live) in self.made:
            return self.made[id(live)]
        kind = type(live)
        node = module_node((kind.__module__, kind.__qualname__), training=live.training)
        self.made[id(live)] = node
        content = vars(live)
        state: dict[str, Any] = node.state
        for table in ("_parameters", "_buffers"):
            names = {name: f"{path}{name}" for name in content[table] if name not in _unsaved(live)}
            state[table] = {name: self.tensors.get(full) for name, full in names.items() if self.has(live, name, full)}
        state["_modules"] = {
            name: None if child is None else self.module(child, f"{path}{name}.")
            for name, child in content["_modules"].items()
        }
        for name, value in content.items():
            if name not in state:
                state[name] = self.value(value)
            elif name not in (*_TABLES, "training", "_non_persistent_buffers_set") and value:
                state[name] = ordered_dict({key: self.value(one) for key, one in value.items()})
        return node

    def has(self, live: torch.nn.Module, name: str, full: str) -> bool:
        """Whether the file has the tensor, or the model has None in its place."""
        return full in self.tensors or getattr(live, name) is None

    def value(self, value: Any) -> Any:
        """Plain values as they are; of all else only the class's name."""
        if type(value) in _PLAIN:
            return value
        if isinstance(value, (list, tuple)):
            parts = [self.value(part) for part in value]
            return parts if type(value) is list else tuple(parts)
        if type(value) is dict:
            return {key: self.value(part) for key, part in value.items() if isinstance(key, (str, int))}
        if isinstance(value, (set, frozenset)):
            found = OrderedSet()
            found.extend(part for part in map(self.value, value) if isinstance(part, Hashable))
            return found
        return _named(value) if isinstance(value, type) else _named(type(value))


def _unsaved(live: torch.nn.Module) -> set[str]:
    return live._non_persistent_buffers_set


def _named(kind: type) -> Global:
    return Global(kind.__module__, kind.__qualname__)
