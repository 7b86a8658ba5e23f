"""What of the steps is needed: what outputs read, and what has effects of its own."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from app.engine.formats.pt2.writing.plan import Step
from app.engine.ir.exported import Exported, Operator, TensorMeta, TensorRef, references

_ATEN: Final = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_NUMBER: Final = re.compile(r"(_operator|math|torch\.sym_\w+|torch)\.\w+|torch\.sym_\w+")
_GRAD_MODE: Final = "torch.ops.higher_order.wrap_with_set_grad_enabled"
# What gives what it takes, with its arguments that must have this value.
_IDENTITIES: Final[Mapping[str, Mapping[str, object]]] = {
    "torch.ops.aten.dropout.default": {"train": False},
    "torch.ops.aten.feature_dropout.default": {"train": False},
    "torch.ops.aten.alpha_dropout.default": {"train": False},
    "torch.ops.aten.clone.default": {"memory_format": None},
    "torch.ops.aten.alias.default": {},
    "torch.ops.aten.detach.default": {},
    "torch.ops.aten.lift_fresh_copy.default": {},
}


def needed(exported: Exported, steps: Sequence[Step]) -> list[Step]:
    """The steps without those that nobody reads. What only checks a tensor that is gone goes with it."""
    wanted = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
    written = {name for step in steps for name in step.writes}
    written |= {ref.name for ref in references(list(exported.graph.inputs))}
    kept: list[Step] = []
    for step in reversed(steps):
        read = bool(wanted & set(step.writes))
        if read or (step.node is None and _acts(step.operator) and written.issuperset(step.reads)):
            kept.append(step)
            wanted |= set(step.reads)
    return kept[::-1]


def _acts(operator: Operator | None) -> bool:
    """Whether an operator does more than put out what it computes: checks, writes, and all that are not known."""
    if operator is None:
        return False
    aten = _ATEN.fullmatch(operator.target)
    if aten is None:
        return _NUMBER.fullmatch(operator.target) is None and operator.target != _GRAD_MODE
    return _writes(operator) or not operator.outputs or _trains(operator)


def _trains(operator: Operator) -> bool:
    """A batch norm that changes its running statistics, which are none of its results."""
    return any(argument.name == "training" and argument.value is True for argument in operator.arguments)


def passed_through(exported: Exported, steps: Sequence[Step], owners: set[str]) -> dict[str, str]:
    """By name, what an operator gives that does nothing; `owners` are those that do something.

    One that an output names stays, and all stay where an operator writes into what it is given.
    """
    fixed = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
    if any(step.operator is not None and step.node is None and _writes(step.operator) for step in steps):
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


def _writes(operator: Operator) -> bool:
    aten = _ATEN.fullmatch(operator.target)
    return aten is not None and aten[1].endswith("_") and not aten[1].endswith("__") and aten[1] != "detach_"


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
