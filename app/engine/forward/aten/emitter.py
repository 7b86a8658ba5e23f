"""The vocabulary for graph files, in which every value and constant has the dtype that the file gives it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import getitem
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.aten.constants import Constants
from app.engine.forward.aten.invocation import Invocation, Several, flattened
from app.engine.forward.vocabulary import UnknownFlow, Vocabulary
from app.engine.ir.graph import Apply, Const, Value
from app.engine.ir.symbolic import Size

# What torch raises for arguments that do not suit an operator.
MISFITS = (RuntimeError, ValueError, IndexError, TypeError)


@dataclass(slots=True)
class Emitter(Vocabulary):
    """Writes down nodes in the name of `owner`, the operator that is being read."""

    constants: Constants = field(default_factory=Constants)
    sizes: dict[int, tuple[Size, ...]] = field(default_factory=dict)  # what the file says, by id(value)

    def call(self, name: str, call: Invocation, tensors: Sequence[Value | Const], light: bool = False) -> Value:
        """Any function with one tensor as its result; a `light` one looks at shapes alone."""
        sample = self._tried_on(name, call, tensors, light)
        return self._apply(name, call, tuple(tensors), {}, tuple(sample.shape), sample.dtype)

    def elementwise(self, name: str, call: Invocation, tensors: Sequence[Value | Const]) -> Value:
        """A function of each number: what holds for single ones holds for all, so that no more are tried."""
        try:
            shape = _broadcast(*(tensor.shape for tensor in tensors))
            with torch.no_grad():
                sample = call(*(self._single(tensor) for tensor in tensors))
        except MISFITS as error:
            raise self._misfit(f"{name} does not take these shapes: {str(error).splitlines()[0][:300]}") from error
        return self._apply(name, call, tuple(tensors), {}, shape, sample.dtype)

    def _single(self, tensor: Value | Const) -> Tensor:
        return torch.zeros((1,) * len(tensor.shape), dtype=self.dtype(tensor))

    def call_many(
        self, name: str, call: Invocation, tensors: Sequence[Value | Const], light: bool = False
    ) -> list[Value | None]:
        """Any function with several results; None in the place of those that are no tensors."""
        samples = list(flattened(self._tried_on(name, call, tensors, light)))
        positions = tuple(index for index, sample in enumerate(samples) if isinstance(sample, Tensor))
        whole = self._apply(name, Several(call, positions), tuple(tensors), {}, (), torch.float32)
        found: list[Value | None] = [None] * len(samples)
        for number, position in enumerate(positions):
            sample = samples[position]
            part = f"{name}, output {number}"
            found[position] = self._apply(part, getitem, (whole, number), {}, tuple(sample.shape), sample.dtype)
        return found

    def dtype(self, tensor: Value | Const) -> torch.dtype:
        return tensor.dtype if isinstance(tensor, Value) else self.constants.dtype(tensor)

    def fixed(self, x: Value, axis: int) -> bool:
        """Whether a dimension has the same size for all inputs."""
        sizes = self.sizes.get(id(x), ())
        return axis < len(sizes) and isinstance(sizes[axis], int)

    def whole(self, rows: Value) -> Value | None:
        """The value whose rows a matrix holds, one below the other; None where it is not known to."""
        operation = rows.node.operation if rows.node else None
        if not isinstance(operation, Apply) or operation.name not in ("view", "reshape") or len(rows.shape) != 2:
            return None
        (source,) = rows.node.inputs if rows.node else ()
        return source if len(source.shape) > 2 and source.shape[-1:] == rows.shape[-1:] else None

    def all_fixed(self, x: Value) -> bool:
        return all(self.fixed(x, axis) for axis in range(len(x.shape)))

    def _tried_on(self, name: str, call: Invocation, tensors: Sequence[Value | Const], light: bool) -> Any:
        return self._tried(name, call, tuple(self._sample(tensor, light) for tensor in tensors), {})

    def _tried(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            with torch.no_grad():
                return function(*(self._sample(arg) for arg in args), **kwargs)
        except MISFITS as error:
            raise self._misfit(f"{name} does not take these shapes: {str(error).splitlines()[0][:300]}") from error

    def _sample(self, arg: Any, light: bool = False) -> Any:
        """Zeros in the place of values, all the same one where only the shape counts."""
        if isinstance(arg, Value):
            return (
                torch.zeros((), dtype=arg.dtype).expand(arg.shape) if light else torch.zeros(arg.shape, dtype=arg.dtype)
            )
        if isinstance(arg, Const):
            return self.constants.sample(arg)
        return arg


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that tensors of these shapes have together. Raises ValueError."""
    rank = max((len(shape) for shape in shapes), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    sizes = [{size for size in along if size != 1} or {1} for along in zip(*aligned, strict=True)]
    if any(len(size) > 1 for size in sizes):
        raise ValueError(f"shapes {shapes} do not fit together")
    return tuple(size.pop() for size in sizes)


def unread(path: str, code: str, reason: str) -> UnknownFlow:
    """The refusal to read an operator."""
    return UnknownFlow(path, code, reason)
