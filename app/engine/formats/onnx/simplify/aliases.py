"""Operators that change nothing go."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from app.engine.formats.onnx.order import Step


def bypass(steps: Sequence[Step], aliases: Mapping[str, str], outputs: AbstractSet[str]) -> list[Step]:
    """Readers of an alias read what it stands for. One that the graph puts out leaves its name to that."""
    giver = {name: step for step in steps for name in step.outputs}
    fixed = {name for step in steps for name in step.captured}
    inner: dict[str, str] = {}
    outer: dict[str, str] = {}
    for alias, name in aliases.items():
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
