"""One operator of the file as its description sees it: what it is given, its attributes, what is known statically."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import onnx
from onnx import NodeProto, helper
from torch import Tensor

from app.engine.forward.onnx.emitter import Emitter, Known
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Const, Value

# The sizes of a tensor that hold for every input the file allows; None for one that may differ.
Dims = tuple[int | None, ...]
_KINDS: Final[dict[type, tuple[type, ...]]] = {int: (int,), float: (int, float), str: (str,)}


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, and the values and constants that it reads (None for an optional input that is left out)."""

    node: NodeProto
    inputs: tuple[Known | None, ...]
    opset: int  # of the operator's domain
    ops: Emitter
    static: Mapping[str, Dims]
    captured: tuple[tuple[str, Known], ...] = ()  # what its inner graphs read of the graph around it

    @property
    def name(self) -> str:
        return str(self.node.op_type)

    @property
    def outputs(self) -> int:
        """How many outputs somebody may read."""
        return max((index + 1 for index, name in enumerate(self.node.output) if name), default=0)

    def get(self, index: int) -> Known | None:
        """An input; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Known:
        """An input that the operator can't do without."""
        known = self.get(index)
        if known is None:
            raise self.unknown("structure-differs", f"{self.name} has no input {index}")
        return known

    def shape(self, index: int) -> tuple[int, ...]:
        return self.need(index).shape

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value, of the same kind as the default; text for strings."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                if default is not None and not isinstance(value, _KINDS[type(default)]):
                    raise self.unknown("structure-differs", f"{self.name} has {value!r} as its {name}")
                return value
        return default

    def ints(self, name: str) -> tuple[int, ...] | None:
        """An attribute that lists integers."""
        value = self.attribute(name)
        return None if value is None else tuple(int(one) for one in value)

    def integers(self, index: int) -> tuple[int, ...] | None:
        """The integers that a constant input holds; None where it is left out. Raises UnknownFlow for a value."""
        tensor = self._constant(index)
        return None if tensor is None else tuple(int(one) for one in tensor.reshape(-1).tolist())

    def number(self, index: int) -> float | None:
        """The one number that a constant input holds; None where it is left out."""
        tensor = self._constant(index)
        return None if tensor is None or tensor.numel() == 0 else tensor.reshape(-1)[0].item()

    def numbers(self, index: int) -> tuple[float, ...] | None:
        tensor = self._constant(index)
        return None if tensor is None else tuple(tensor.reshape(-1).tolist())

    def settled(self, index: int) -> bool:
        """True if the input is left out, or holds the same for every input that the file allows."""
        known = self.get(index)
        return known is None or (isinstance(known, Const) and not known.varies)

    def varying(self, result: Known) -> Known:
        """The result, varying if anything that was read does: a function may hold sizes beside its arguments."""
        if not isinstance(result, Const) or result.varies:
            return result
        read = (*self.inputs, *(known for _, known in self.captured))
        if not any(isinstance(known, Const) and known.varies for known in read):
            return result
        return self.ops.like(result, replace(result, varies=True))

    def _constant(self, index: int) -> Tensor | None:
        known = self.get(index)
        if known is None:
            return None
        if isinstance(known, Value):
            raise self.unknown("needs-its-data", f"{self.name} takes {self.node.input[index]!r}, which is computed")
        return known.value(None)

    def dims(self, index: int) -> Dims:
        """What is known statically of an input's sizes."""
        known = self.need(index)
        if isinstance(known, Const):
            return (None,) * len(known.shape) if known.varies else known.shape
        static = self.static.get(self.node.input[index], ())
        return static if len(static) == len(known.shape) else (None,) * len(known.shape)

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front."""
        if not isinstance(value, int) or not -rank <= value < max(rank, 1):
            raise self.unknown("shapes-differ", f"{self.name} has no axis {value} in {rank} dimensions")
        return value % max(rank, 1)

    def compute(self, function: Callable[..., Tensor], *args: Any) -> Known:
        return self.ops.compute(self.name, function, args)

    def unknown(self, code: str, reason: str) -> UnknownFlow:
        return UnknownFlow(self.ops.owner, code, reason)


def first_output(node: onnx.NodeProto) -> str:
    """The key of an operator: the name of its first output that has one."""
    return next((str(name) for name in node.output if name), "")
