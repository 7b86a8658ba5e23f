"""What is known of each name of a graph while it is followed: a value, a constant, a number, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from app.engine.forward.aten.emitter import Emitter, unread
from app.engine.ir.exported import SymbolRef, TensorMeta, TensorRef
from app.engine.ir.graph import Const, Value


class _Nothing:
    """Stands for a tensor or a number of which nothing is known."""


NOTHING: Final = _Nothing()


@dataclass(slots=True)
class Known:
    """By name. `names` is the way back: the first name under which a tensor was known."""

    tensors: Mapping[str, TensorMeta]  # what the file says of each
    ops: Emitter
    found: dict[str, Any] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    given: list[Value] = field(default_factory=list)  # inputs beside the file's own
    _held: list[Any] = field(default_factory=list)  # an id means something as long as its tensor is there

    def bind(self, name: str, found: Any) -> None:
        self.found[name] = found
        if isinstance(found, (Value, Const)):
            self._held.append(found)
            if id(found) not in self.names:
                self.names[id(found)] = name
                meta = self.tensors.get(name)
                self.ops.sizes[id(found)] = meta.sizes if meta else ()

    def give(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Make the tensor an input of the graph."""
        value = Value(shape, None, dtype)
        self.given.append(value)
        self.bind(name, value)

    def value(self, name: str) -> Value | None:
        found = self.found.get(name)
        return found if isinstance(found, Value) else None

    def const(self, name: str) -> Const | None:
        found = self.found.get(name)
        return found if isinstance(found, Const) else None

    def resolved(self, argument: Any) -> Any:
        """The argument with what is known in the place of names. Raises UnknownFlow where nothing is."""
        if isinstance(argument, (TensorRef, SymbolRef)):
            found = self.found.get(argument.name, NOTHING)
            if isinstance(found, _Nothing):
                why = f"nothing is known of its input {argument.name}"
                raise unread(self.ops.owner, "input-not-known", why)
            return found
        return [self.resolved(part) for part in argument] if isinstance(argument, list) else argument
