"""Which operators of a program are needed: what outputs read, and what does more than put out what it computes."""

import re
from collections.abc import Callable, Set
from dataclasses import replace
from typing import Final

from app.engine.forward.aten.mutation import memory_of
from app.engine.ir.exported import Exported, Operator, references

# Whether an operator has effects, where these names are read behind it.
Acts = Callable[[Operator, Set[str]], bool]

_ATEN: Final = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_NUMBER: Final = re.compile(r"(_operator|math|torch\.sym_\w+|torch)\.\w+|torch\.sym_\w+")
_GRAD_MODE: Final = "torch.ops.higher_order.wrap_with_set_grad_enabled"


def effects(exported: Exported) -> Acts:
    """Which operators check, write, or do what is not known; what is written counts if somebody sees that memory."""
    memory = memory_of(exported)

    def acts(operator: Operator, read: Set[str]) -> bool:
        aten = _ATEN.fullmatch(operator.target)
        if aten is None:
            return _NUMBER.fullmatch(operator.target) is None and operator.target != _GRAD_MODE
        write = memory.writes.get(operator.owner)
        if write is not None:
            return write.outside or bool(write.others & read)
        return writes(operator) or not operator.outputs or _trains(operator)

    return acts


def writes(operator: Operator) -> bool:
    """Whether an operator writes into what it is given."""
    aten = _ATEN.fullmatch(operator.target)
    return aten is not None and aten[1].endswith("_") and not aten[1].endswith("__") and aten[1] != "detach_"


def without_dead(exported: Exported) -> Exported:
    """The program without operators that nobody reads: what is computed in vain stands in nobody's way."""
    acts = effects(exported)
    wanted = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
    kept: list[Operator] = []
    for operator in reversed(exported.graph.nodes):
        if acts(operator, wanted) or any(output is not None and output.name in wanted for output in operator.outputs):
            kept.append(operator)
            wanted |= {ref.name for ref in operator.reads()}
    if len(kept) == len(exported.graph.nodes):
        return exported
    return replace(exported, graph=replace(exported.graph, nodes=tuple(kept[::-1])))


def _trains(operator: Operator) -> bool:
    """A batch norm that changes its running statistics, which are none of its results."""
    return any(argument.name == "training" and argument.value is True for argument in operator.arguments)
