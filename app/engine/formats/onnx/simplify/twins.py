"""Tensors of the same numbers become one, and operators that compute the same."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Any

import torch

from app.engine.formats.onnx.order import Step
from app.engine.forward.onnx import RANDOM, inner_graphs
from app.engine.ir.tensors import StoredTensor


def unify(steps: Sequence[Step], tensors: Mapping[str, StoredTensor], fixed: AbstractSet[str]) -> None:
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


def share(steps: Sequence[Step], fixed: AbstractSet[str]) -> list[Step]:
    """Of operators that compute the same from the same the first alone stays; steps in an order in which they run.

    `fixed` names stay. Operators of other domains may keep a state, inner graphs name what they read.
    """
    fixed = fixed | {name for step in steps for name in step.captured}
    first: dict[tuple[Any, ...], Step] = {}
    called: dict[str, str] = {}
    left = []
    for step in steps:
        step.inputs = [called.get(name, name) if isinstance(name, str) else name for name in step.inputs]
        plain = step.kind and step.kind not in RANDOM and not any(True for _ in inner_graphs(step.node))
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
