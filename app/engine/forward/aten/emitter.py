"""The vocabulary for graph files, in which every value and constant has the dtype that the file gives it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.aten.constants import Constants
from app.engine.forward.aten.invocation import Invocation, Several, flattened
from app.engine.forward.vocabulary import UnknownFlow, Vocabulary
from app.engine.ir.graph import Const, Value
from app.engine.ir.symbolic import Size

# What torch raises for arguments that do not suit an operator.
MISFITS = (RuntimeError, ValueError, IndexError, TypeError)


@dataclass(slots=True)
class Emitter(Vocabulary):
    """Writes down nodes in the name of `owner`, the operator that is being read."""

    constants: Constants = field(default_factory=Constants)
    sizes: dict[int, tuple[Size, ...]] = field(default_factory=dict)  # what the file says, by id(value)

    def call(self, name: str, call: Invocation, tensors: Sequence[Value | Const]) -> Value:
        """Any function with one tensor as its result."""
        return self.apply(name, call, *tensors)

    def call_many(self, name: str, call: Invocation, tensors: Sequence[Value | Const]) -> list[Value | None]:
        """Any function with several results; None in the place of those that are no tensors."""
        samples = list(flattened(self._tried(name, call, tuple(tensors), {})))
        positions = tuple(index for index, sample in enumerate(samples) if isinstance(sample, Tensor))
        found = iter(self.apply_many(name, Several(call, positions), *tensors))
        return [next(found) if isinstance(sample, Tensor) else None for sample in samples]

    def dtype(self, tensor: Value | Const) -> torch.dtype:
        return tensor.dtype if isinstance(tensor, Value) else self.constants.dtype(tensor)

    def fixed(self, x: Value, axis: int) -> bool:
        """Whether a dimension has the same size for all inputs."""
        sizes = self.sizes.get(id(x), ())
        return axis < len(sizes) and isinstance(sizes[axis], int)

    def all_fixed(self, x: Value) -> bool:
        return all(self.fixed(x, axis) for axis in range(len(x.shape)))

    def _tried(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            with torch.no_grad():
                return function(*(self._sample(arg) for arg in args), **kwargs)
        except MISFITS as error:
            raise self._misfit(f"{name} does not take these shapes: {str(error).splitlines()[0][:300]}") from error

    def _sample(self, arg: Any) -> Any:
        """Zeros; but literals as they are, which often are indices."""
        if isinstance(arg, Value):
            return torch.zeros(arg.shape, dtype=arg.dtype)
        if isinstance(arg, Const):
            return self.constants.sample(arg) if arg.literal is None else arg.literal
        return arg


def unread(path: str, code: str, reason: str) -> UnknownFlow:
    """The refusal to read an operator."""
    return UnknownFlow(path, code, reason)
