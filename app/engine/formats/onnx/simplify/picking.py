"""Operators that pick elements (Gather, Slice), before those that add or take away dimensions or join what was picked.

Exporters write each size of a shape as a Gather of a number that an Unsqueeze makes a list again, and each part of a
stacked projection as a Slice of one element whose dimension a Squeeze takes away: one Gather does either.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from onnx import helper

from app.engine.formats.onnx.emit import Weight, integers
from app.engine.formats.onnx.order import Step
from app.engine.formats.onnx.simplify.facts import Facts, attribute
from app.engine.ir.graph import Const

_ENDLESS: Final = (1 << 31) - 1  # what exporters write for "up to the end"


def picks_at_once(step: Step, facts: Facts) -> bool:
    """Whether the step was made one that picks."""
    match step.kind:
        case "Unsqueeze":
            return _list_of_one(step, facts)
        case "Squeeze":
            return _single_element(step, facts)
    return False


def _list_of_one(step: Step, facts: Facts) -> bool:
    """Unsqueeze of a Gather of a single number, along the dimension that it lost."""
    gather, axes = facts.giver(step, 0), _axes(step, facts)
    if gather is None or gather.kind != "Gather" or axes is None or not _alone(gather, step.kind, facts):
        return False
    index, axis = facts.constant(gather, 1), attribute(gather, "axis", 0)
    if index is None or index.ndim > 0 or axes != (axis,) or axis < 0:
        return False
    _become_gather(step, gather.inputs[0], axis, integers((int(index),), *_called(gather.inputs[1])))
    return True


def _single_element(step: Step, facts: Facts) -> bool:
    """Squeeze of the dimension that a Slice or a Gather has left one element of."""
    above, axes = facts.giver(step, 0), _axes(step, facts)
    if above is None or axes is None or len(axes) != 1 or axes[0] < 0 or not _alone(above, step.kind, facts):
        return False
    index = _picked(above, axes[0], facts)
    if index is None:
        return False
    number = torch.tensor(index, dtype=torch.int64)
    _become_gather(step, above.inputs[0], axes[0], Weight(Const((), (), (), None, number), torch.int64))
    return True


def _picked(step: Step, axis: int, facts: Facts) -> int | None:
    """The one index along this axis that the step picks, and nothing along others."""
    if step.kind == "Gather":
        index = facts.constant(step, 1)
        one = index is not None and index.shape == (1,) and attribute(step, "axis", 0) == axis
        return int(index) if one and index is not None else None
    if step.kind != "Slice" or len(step.inputs) < 4 or facts.integers(step, 3) != (axis,):
        return None
    starts, ends = facts.integers(step, 1), facts.integers(step, 2)
    steps = facts.integers(step, 4) if len(step.inputs) > 4 and step.inputs[4] else (1,)
    if starts is None or ends is None or len(starts) != 1 or len(ends) != 1 or steps != (1,):
        return None
    start, end = starts[0], ends[0]
    last = start == -1 and end >= _ENDLESS
    return start if last or (end == start + 1 and end != 0) else None


def picked_together(step: Step, facts: Facts, fresh: Callable[[str], str]) -> Step | None:
    """A Gather in the place of two whose results stand side by side in a concatenation, which reads that one now."""
    if step.kind != "Concat":
        return None
    for index in range(len(step.inputs) - 1):
        first, second = (_picks_for(step, at, facts) for at in (index, index + 1))
        if first is None or second is None or first.inputs[0] != second.inputs[0]:
            continue
        indices = (*(facts.integers(first, 1) or ()), *(facts.integers(second, 1) or ()))
        name = fresh(first.outputs[0])
        step.inputs[index : index + 2] = [name]
        read = [first.inputs[0], integers(indices, *_called(first.inputs[1]))]
        return Step(first.place, read, (), (name,), first.node)
    return None


def _picks_for(concat: Step, index: int, facts: Facts) -> Step | None:
    """The Gather of a list of constant indices that gives an input of a concatenation, and nothing else."""
    gather = facts.giver(concat, index)
    if gather is None or gather.kind != "Gather" or len(facts.readers(gather)) != 1:
        return None
    indices, axis = facts.constant(gather, 1), attribute(gather, "axis", 0)
    listed = indices is not None and indices.ndim == 1
    return gather if listed and axis >= 0 and axis == attribute(concat, "axis") else None


def _alone(step: Step, kind: str, facts: Facts) -> bool:
    """All that is given goes to operators of this kind: the step itself goes once those read what it reads."""
    found = facts.readers(step)
    return bool(found) and all(reader.kind == kind for reader in found)


def _axes(step: Step, facts: Facts) -> tuple[int, ...] | None:
    """Of Squeeze and Unsqueeze: an attribute, and from opset 13 an input."""
    given: Sequence[int] | None = attribute(step, "axes")
    if given is None and len(step.inputs) > 1:
        given = facts.integers(step, 1)
    return None if given is None else tuple(given)


def _called(name: Any) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else ()


def _become_gather(step: Step, of: str | Weight, axis: int, indices: Weight) -> None:
    step.inputs = [of, indices]
    step.node = helper.make_node("Gather", [], [], name=step.node.name, axis=axis)
