"""What of the steps is needed: what outputs read, and what has effects of its own."""

from collections.abc import Mapping, Sequence
from typing import Final

from app.engine.formats.pt2.writing.plan import Step
from app.engine.forward.aten import effects, writes
from app.engine.ir.exported import Exported, Operator, TensorMeta, TensorRef, references

_DETACH: Final = "torch.ops.aten.detach_.default"
# What gives what it takes, with its arguments that must have this value.
_IDENTITIES: Final[Mapping[str, Mapping[str, object]]] = {
    "torch.ops.aten.dropout.default": {"train": False},
    "torch.ops.aten.feature_dropout.default": {"train": False},
    "torch.ops.aten.alpha_dropout.default": {"train": False},
    "torch.ops.aten.clone.default": {"memory_format": None},
    "torch.ops.aten.alias.default": {},
    "torch.ops.aten.detach.default": {},
    _DETACH: {},
    "torch.ops.aten.lift_fresh_copy.default": {},
}


def needed(exported: Exported, steps: Sequence[Step]) -> list[Step]:
    """The steps without those that nobody reads. What only checks a tensor that is gone goes with it."""
    acts = effects(exported)
    wanted = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
    kept: list[Step] = []
    for step in reversed(_possible(exported, steps)):
        works = step.node is None and step.operator is not None and acts(step.operator, wanted)
        if works or wanted & set(step.writes):
            kept.append(step)
            wanted |= set(step.reads)
    return kept[::-1]


def _possible(exported: Exported, steps: Sequence[Step]) -> list[Step]:
    """The steps of which everything is there that they read."""
    there = {ref.name for ref in references(list(exported.graph.inputs))}
    possible: list[Step] = []
    for step in steps:
        fresh = step.node is not None  # constants of the new operators come later
        if fresh or there.issuperset(step.reads):
            possible.append(step)
            there |= set(step.writes)
    return possible


def passed_through(exported: Exported, steps: Sequence[Step], owners: set[str]) -> dict[str, str]:
    """By name, what an operator gives that does nothing; `owners` are those that do something.

    One that an output names stays, and all stay where an operator writes into what it is given.
    """
    fixed = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
    # What stays and detaches its input needs a copy of its own: a constant can't be detached.
    detached = [one for one in exported.graph.nodes if one.target == _DETACH and one.owner in fixed]
    fixed |= {ref.name for one in detached for ref in one.reads()}
    if any(step.operator is not None and step.node is None and writes(step.operator) for step in steps):
        return {}
    passed: dict[str, str] = {}
    for step in steps:
        operator = step.operator
        if operator is None or step.node is not None or operator.owner in owners | fixed:
            continue
        source = _source(operator, exported.graph.tensors)
        if source is not None:
            passed[operator.owner] = passed.get(source, source)
    return passed


def _source(operator: Operator, tensors: Mapping[str, TensorMeta]) -> str | None:
    """The name of the tensor that an identity gives; None for any other operator."""
    required = _IDENTITIES.get(operator.target)
    given = {argument.name: argument.value for argument in operator.arguments}
    if required is None or any(given.get(name) is not value for name, value in required.items()):
        return None
    first = operator.arguments[0].value if operator.arguments else None
    if not isinstance(first, TensorRef) or len(operator.outputs) != 1:
        return None
    # A view that follows may need the memory in the order in which the copy has it.
    same = first.name in tensors and tensors[first.name].strides == tensors[operator.owner].strides
    return first.name if same else None
