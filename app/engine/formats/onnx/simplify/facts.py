"""What simplifying may rest on: numbers that are known, sizes that hold for every input, who gives and who reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from onnx import helper
from torch import Tensor

from app.engine.formats.onnx.emit import Weight
from app.engine.formats.onnx.order import Step
from app.engine.forward.onnx import Dims
from app.engine.ir.tensors import StoredTensor

_READ_ELEMENTS: Final = 1 << 12


@dataclass(frozen=True)
class Facts:
    """Of the steps as they are now: made anew once their inputs have changed."""

    steps: Sequence[Step]
    tensors: Mapping[str, StoredTensor]
    dims: Mapping[str, Dims]  # by name, None for a size that may differ
    outputs: frozenset[str]  # of the graph

    @cached_property
    def _givers(self) -> dict[str, Step]:
        return {name: step for step in self.steps for name in step.outputs if name}

    @cached_property
    def _readers(self) -> dict[str, list[Step]]:
        readers: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in step.reads():
                readers.setdefault(name, []).append(step)
        return readers

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Names that must stay: the graph puts them out, or a graph within an operator reads them."""
        return self.outputs | {name for step in self.steps for name in step.captured}

    def giver(self, step: Step, index: int) -> Step | None:
        """The step that gives an input."""
        return self._givers.get(str(step.inputs[index])) if index < len(step.inputs) else None

    def readers(self, step: Step) -> list[Step]:
        """Who reads the only output of a step, one as often as it does; an empty list where others may read it."""
        alone = len(step.outputs) == 1 and step.outputs[0] not in self.fixed
        return self._readers.get(step.outputs[0], []) if alone else []

    def constant(self, step: Step, index: int) -> Tensor | None:
        """The numbers of an input that is a short constant."""
        read = step.inputs[index] if index < len(step.inputs) else ""
        if isinstance(read, Weight):
            return read.const.literal
        stored = self.tensors.get(read)
        return stored.read() if stored is not None and stored.numel <= _READ_ELEMENTS else None

    def integers(self, step: Step, index: int) -> tuple[int, ...] | None:
        """The same, of integers."""
        tensor = self.constant(step, index)
        if tensor is None or tensor.is_floating_point():
            return None
        return tuple(int(number) for number in tensor.reshape(-1).tolist())

    def sizes(self, step: Step, index: int) -> Dims | None:
        """What is known of an input's sizes; None where not even their number is."""
        name = step.inputs[index]
        if isinstance(name, Weight):
            return None
        stored = self.tensors.get(name)
        return self.dims.get(name) if stored is None else stored.shape


def attribute(step: Step, name: str, default: Any = None) -> Any:
    """The value of an attribute of the step's operator."""
    found = (helper.get_attribute_value(one) for one in step.node.attribute if one.name == name)
    return next(found, default)
