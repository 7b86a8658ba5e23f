"""Names for new tensors: those of the weights whose place they take, where nothing else has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.engine.formats.onnx.emit import Weight
from app.engine.formats.onnx.naming import Names
from app.engine.formats.onnx.order import Step
from app.engine.ir.tensors import StoredTensor, in_memory


@dataclass(slots=True)
class Namer:
    """Gives weights names; the same weight has one name."""

    stored: Mapping[str, StoredTensor]  # by name, what may be used as it is
    names: Names
    made: dict[str, StoredTensor] = field(default_factory=dict)
    _known: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _held: list[Weight] = field(default_factory=list)  # keys are ids: what they are of must stay

    def resolve(self, steps: Sequence[Step]) -> None:
        """Put names in the place of all weights."""
        for step in steps:
            step.inputs = [self._name(part) if isinstance(part, Weight) else part for part in step.inputs]

    def _name(self, weight: Weight) -> str:
        if weight.key not in self._known:
            self._held.append(weight)
            self._known[weight.key] = self._as_stored(weight) or self._made(weight)
        return self._known[weight.key]

    def _as_stored(self, weight: Weight) -> str | None:
        """The file's own tensor, where it is the weight just as it lies there."""
        const = weight.const
        if const.compute is not None or const.literal is not None or weight.turned:
            return None
        source, path = const.sources[0], const.paths[0]
        same = self.stored.get(path) is source and source.dtype == weight.dtype
        return path if same and weight.shape in (None, source.shape) else None

    def _made(self, weight: Weight) -> str:
        name = self.names.fresh(next(iter(weight.const.paths), "constant"))
        self.made[name] = in_memory(weight.tensor())
        return name
