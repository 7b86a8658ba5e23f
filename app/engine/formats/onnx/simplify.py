"""Operators that change nothing go, and what depends on constants alone is computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import torch
from onnx import ModelProto

from app.engine.formats.onnx.emit import Weight
from app.engine.formats.onnx.order import Step, needed
from app.engine.formats.onnx.structure import is_constant
from app.engine.forward.onnx import RANDOM, inner_graphs
from app.engine.ir.program import Program
from app.engine.ir.tensors import StoredTensor, in_memory

_SMALL_BYTES: Final = 1 << 12  # a constant that is computed once may be so much larger than what it is made of


def bypass(steps: Sequence[Step], program: Program, model: ModelProto) -> list[Step]:
    """Readers of an alias read what it stands for. One that the graph puts out leaves its name to that."""
    giver = {name: step for step in steps for name in step.outputs}
    fixed = {name for step in steps for name in step.captured}
    outputs = {value.name for value in model.graph.output}
    inner: dict[str, str] = {}
    outer: dict[str, str] = {}
    for alias, name in program.aliases.items():
        if alias in fixed or alias not in giver:
            continue
        if alias not in outputs:
            inner[alias] = name
        elif name in giver and name not in fixed | outputs | set(outer) and len(giver[alias].outputs) == 1:
            outer[name] = alias
    gone = {id(giver[alias]) for alias in outer.values()}
    left = [step for step in steps if id(step) not in gone]
    for step in left:
        step.inputs = [_called(name, inner, outer) if isinstance(name, str) else name for name in step.inputs]
        step.outputs = tuple(outer.get(name, name) for name in step.outputs)
    return left


def _called(name: str, inner: Mapping[str, str], outer: Mapping[str, str]) -> str:
    stands_for = inner.get(name, name)
    return outer.get(stands_for, stands_for)


@dataclass(frozen=True, slots=True)
class Folded:
    """The steps that are left, and tensors by the names of values that no step gives any more."""

    steps: list[Step]
    tensors: dict[str, StoredTensor]


def unify(steps: Sequence[Step], tensors: Mapping[str, StoredTensor], fixed: set[str]) -> None:
    """Tensors of the same numbers become one: readers of the later read the first. `fixed` names stay apart."""
    fixed = fixed | {name for step in steps for name in step.captured}
    alike: dict[tuple[Any, ...], list[str]] = {}
    for name, stored in tensors.items():
        if name not in fixed:
            alike.setdefault((stored.dtype, stored.shape), []).append(name)
    first: dict[tuple[Any, ...], str] = {}
    stands_for: dict[str, str] = {}
    for kind, names in alike.items():
        for name in names if len(names) > 1 else ():
            content = tensors[name].read().contiguous().reshape(-1).view(torch.uint8)
            digest = sha256(content.numpy().tobytes()).digest()
            stands_for[name] = first.setdefault((kind, digest), name)
    for step in steps:
        step.inputs = [stands_for.get(name, name) if isinstance(name, str) else name for name in step.inputs]


def merge_reshapes(steps: Sequence[Step], tensors: Mapping[str, StoredTensor]) -> None:
    """Of reshapes in a row the last alone counts, where none of its sizes is "as it is" (a 0)."""
    giver = {name: step for step in steps for name in step.outputs}
    for step in steps:
        if _kind(step) != "Reshape" or not _states_all_sizes(step, tensors):
            continue
        while (name := step.inputs[0]) in giver and _kind(above := giver[str(name)]) in _RESHAPES:
            step.inputs[0] = above.inputs[0]


def share(steps: Sequence[Step], fixed: set[str]) -> list[Step]:
    """Of operators that compute the same from the same the first alone stays; steps in an order in which they run.

    `fixed` names stay. Operators of other domains may keep a state, inner graphs name what they read.
    """
    fixed = fixed | {name for step in steps for name in step.captured}
    first: dict[tuple[Any, ...], Step] = {}
    called: dict[str, str] = {}
    left = []
    for step in steps:
        step.inputs = [called.get(name, name) if isinstance(name, str) else name for name in step.inputs]
        plain = _kind(step) and _kind(step) not in RANDOM and not any(True for _ in inner_graphs(step.node))
        twin = first.setdefault(_computed(step), step) if plain and not fixed & set(step.outputs) else step
        if twin is step:
            left.append(step)
        else:
            called.update(zip(step.outputs, twin.outputs, strict=True))
    return left


def _computed(step: Step) -> tuple[Any, ...]:
    """Equal for steps that compute the same."""
    inputs = tuple(part if isinstance(part, str) else part.key for part in step.inputs)
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in step.node.attribute)
    return step.node.op_type, inputs, tuple(attributes), tuple(map(bool, step.outputs))


_RESHAPES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})  # keep every number and their order


def _kind(step: Step) -> str:
    return step.node.op_type if step.node.domain in ("", "ai.onnx") else ""


def _states_all_sizes(step: Step, tensors: Mapping[str, StoredTensor]) -> bool:
    target = tensors.get(str(step.inputs[1]))
    return target is not None and target.dtype == torch.int64 and not bool((target.read() == 0).any())


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
