"""What an operator is to us: a function of tensors, and where it is linear its words in the vocabulary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.certainty import settle
from app.engine.forward.onnx.emitter import Known, first_line
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Apply, Passage, Value

Function = Callable[..., Any]
Results = Known | Sequence[Known]


@dataclass(frozen=True, slots=True)
class Tensors:
    """A function and the arguments that it is called with: Values, Consts (for tensors) and plain numbers."""

    function: Function
    args: tuple[Any, ...]
    many: bool = False  # gives a list of tensors, one for each output
    foreign: bool = False  # an implementation that is not ours
    shape: tuple[int, ...] | None = None  # of the result, where it is known without trying
    passage: Passage | None = None  # of a function of one value


@dataclass(frozen=True, slots=True)
class Operator:
    """How one operator is read.

    `linear` is tried first: the values it gives, or None where this use of the operator is not linear, not provably so,
    or does not take a value at all.
    """

    tensors: Callable[[Call], Tensors]
    linear: Callable[[Call], Results | None] | None = None
    elementwise: bool = False  # keeps shape and dtype of its first input
    folds: bool = True

    def read(self, call: Call) -> list[Known]:
        """The operator's outputs."""
        try:
            read = self._linear(call)
            if read is None:
                read = self._compute(call)
        # The file may say anything of an operator: a blocksize of 0, an axis that is a text, a kernel without sizes.
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise call.unknown("structure-differs", f"{call.name} can't be read: {first_line(error)}") from error
        return [read] if not isinstance(read, Sequence) else list(read)

    def _linear(self, call: Call) -> Results | None:
        """Constants of dtypes that the vocabulary does not take are for the function, too."""
        before = len(call.ops.nodes)
        try:
            return self.linear(call) if self.linear else None
        except UnknownFlow as why:
            if why.code != "dtype-not-described":
                raise
            del call.ops.nodes[before:]
            return None

    def _compute(self, call: Call) -> Results:
        said = self.tensors(call)
        result = self._result(call, said)
        if said.passage is not None and isinstance(result, Value) and result.node is not None:
            assert isinstance(result.node.operation, Apply)
            result.node.operation = replace(result.node.operation, passage=said.passage)
        return result

    def _result(self, call: Call, said: Tensors) -> Results:
        if said.many:
            results = call.ops.compute_many(call.name, said.function, said.args, self.folds, said.foreign)
            return [call.varying(result) for result in results]
        if self.elementwise and self.folds:
            return call.varying(call.ops.keeping(call.name, said.function, said.args[0], *said.args[1:]))
        result = call.ops.compute(call.name, said.function, said.args, self.folds, said.foreign, said.shape)
        return settle(call, said.function, said.args, call.varying(result))


def plain(function: Callable[..., Tensor], elementwise: bool = False) -> Operator:
    """An operator that is one function of its inputs, without attributes; they are broadcast to one another."""
    return Operator(lambda call: Tensors(function, call.inputs, shape=broadcast(call)), elementwise=elementwise)


def broadcast(call: Call) -> tuple[int, ...]:
    """The shape that all inputs together have."""
    return broadcast_shapes(call, *(known.shape for known in call.inputs if known is not None))


def broadcast_shapes(call: Call, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """What shapes are broadcast to. Raises UnknownFlow where they do not fit."""
    rank = max(map(len, shapes), default=0)
    sizes = []
    for column in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        wide = {size for size in column if size != 1}
        if len(wide) > 1:
            raise call.unknown("shapes-differ", f"{call.name} meets shapes {shapes}")
        sizes.append(wide.pop() if wide else 1)
    return tuple(sizes)


def is_float(call: Call, index: int = 0) -> bool:
    """True for an input that is a value of floating point: only those are linear to us."""
    known = call.get(index)
    return isinstance(known, Value) and known.dtype.is_floating_point
