"""What an operator is to us: a function of tensors, and where it is linear its words in the vocabulary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.certainty import settle
from app.engine.forward.onnx.emitter import Known, first_line
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value

Function = Callable[..., Any]
Results = Known | Sequence[Known]


@dataclass(frozen=True, slots=True)
class Tensors:
    """A function and the arguments that it is called with: Values, Consts (for tensors) and plain numbers."""

    function: Function
    args: tuple[Any, ...]
    many: bool = False  # gives a list of tensors, one for each output
    foreign: bool = False  # an implementation that is not ours


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
        if said.many:
            results = call.ops.compute_many(call.name, said.function, said.args, self.folds, said.foreign)
            return [call.varying(result) for result in results]
        if self.elementwise and self.folds:
            return call.varying(call.ops.keeping(call.name, said.function, said.args[0], *said.args[1:]))
        result = call.ops.compute(call.name, said.function, said.args, self.folds, said.foreign)
        return settle(call, said.function, said.args, call.varying(result))


def plain(function: Callable[..., Tensor], elementwise: bool = False) -> Operator:
    """An operator that is one function of its inputs, without attributes."""
    return Operator(lambda call: Tensors(function, call.inputs), elementwise=elementwise)


def is_float(call: Call, index: int = 0) -> bool:
    """True for an input that is a value of floating point: only those are linear to us."""
    known = call.get(index)
    return isinstance(known, Value) and known.dtype.is_floating_point
