"""What depends on constants alone is computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onnx import ModelProto

from app.engine.formats.onnx.emit import Weight
from app.engine.formats.onnx.order import Step, needed
from app.engine.formats.onnx.structure import is_constant
from app.engine.ir.program import Program
from app.engine.ir.tensors import StoredTensor, in_memory

_SMALL_BYTES: Final = 1 << 12  # a constant that is computed once may be so much larger than what it is made of


@dataclass(frozen=True, slots=True)
class Folded:
    """The steps that are left, and tensors by the names of values that no step gives any more."""

    steps: list[Step]
    tensors: dict[str, StoredTensor]


def fold_constants(
    steps: Sequence[Step], program: Program, model: ModelProto, tensors: Mapping[str, StoredTensor]
) -> Folded:
    """What steps that stay read of others that depend on constants alone becomes a tensor of the file."""
    outputs = {value.name for value in model.graph.output}
    giver = {name: step for step in steps for name in step.outputs}
    constant = {id(step) for step in steps if all(name in program.constants for name in step.outputs)}
    made: dict[str, StoredTensor] = {}
    waiting = [name for step in steps if id(step) not in constant for name in step.reads()]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        step = giver.get(name)
        if name in seen or step is None or id(step) not in constant:
            continue
        seen.add(name)
        tensor = _tensor(name, step, program, tensors) if name not in outputs else None
        if tensor is None:
            waiting.extend(step.reads())
        else:
            made[name] = tensor
    left = [step for step in steps if not set(step.outputs) & set(made)]
    return Folded(needed(left, outputs), made)


def _tensor(name: str, step: Step, program: Program, tensors: Mapping[str, StoredTensor]) -> StoredTensor | None:
    """The constant's value, unless it differs with the input's shape or would make the file larger."""
    const = program.constants[name]
    if const.varies or len(step.outputs) != 1:
        return None
    if is_constant(step.node):
        return tensors.get(name)
    native = const.value(None)
    sources = sum(source.nbytes for source in const.sources)
    if native.nbytes > sources + _SMALL_BYTES:
        return None
    return in_memory(Weight(const, native.dtype).tensor())
