"""Operators that write into their arguments: who else sees the same memory, and whether the new value can be followed.

A program as torch.export first writes it is not functional: `relu_` changes what `batch_norm` gave. Such an operator is
read as `relu` where nobody reads the old value, or a view of it, afterwards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from app.engine.forward.aten.allowed import ALLOWED, FRESH, IN_PLACE
from app.engine.forward.aten.calls import PREFIX, overload_of
from app.engine.ir.exported import Exported, Operator, TensorRef, references

_TRAINED: Final = frozenset({"batch_norm.default", "native_batch_norm.default", "cudnn_batch_norm.default"})
_STATISTICS: Final = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Write:
    """What writing into the first argument of an operator does."""

    provable: bool  # nobody reads the old value or a view of it later
    outside: bool  # the memory belongs to an input or a buffer: the caller sees what is written
    others: frozenset[str]  # names of the same memory, given before


@dataclass(slots=True)
class Memory:
    """Which names of a program share memory, and what is written where."""

    writes: dict[str, Write] = field(default_factory=dict)  # by owner
    written: set[str] = field(default_factory=set)  # every name of memory that is written to
    buffers: set[str] = field(default_factory=set)  # names of parameters and buffers that change


def memory_of(exported: Exported) -> Memory:
    """Who shares memory with whom, by the operators' schemas; nothing changes in a functional program."""
    memory = Memory(buffers=_replaced(exported))
    if exported.functional:
        return memory
    sharing = _Sharing()
    reads = _last_reads(exported)
    for index, operator in enumerate(exported.graph.nodes):
        name = operator.target.removeprefix(PREFIX)
        if name in IN_PLACE:
            target = _first(operator)
            if target is not None:
                others = frozenset(sharing.members(target.name))
                late = any(reads.get(other, -1) > index for other in others - {target.name})
                outside = bool(others & _inputs(exported))
                memory.writes[operator.owner] = Write(not late, outside, others)
                memory.written |= others
        sharing.follow(operator, name)
        memory.buffers |= _trained(operator, name)
    memory.written |= {other for name in memory.written for other in sharing.members(name)}
    memory.buffers |= memory.written & _inputs(exported)
    return memory


def _replaced(exported: Exported) -> set[str]:
    """Parameters and buffers of which an output gives the next value."""
    targets = {spec.target for spec in exported.outputs if spec.kind == "buffer_mutation"}
    return {spec.value.name for spec in exported.inputs if spec.target in targets and isinstance(spec.value, TensorRef)}


def _trained(operator: Operator, name: str) -> set[str]:
    """The running statistics that a batch norm in training mode changes, of which its schema says nothing."""
    given = {argument.name: argument.value for argument in operator.arguments}
    if name not in _TRAINED or given.get("training") is not True:
        return set()
    return {ref.name for ref in references([given.get(part) for part in _STATISTICS])}


def _inputs(exported: Exported) -> set[str]:
    return {port.name for port in exported.graph.inputs if isinstance(port, TensorRef)}


def _last_reads(exported: Exported) -> Mapping[str, int]:
    """The position of the last operator that reads a name; outputs are read at the end."""
    reads: dict[str, int] = {}
    for index, operator in enumerate(exported.graph.nodes):
        for ref in references([argument.value for argument in operator.arguments]):
            reads[ref.name] = index
    for ref in references(list(exported.graph.outputs)):
        reads[ref.name] = len(exported.graph.nodes)
    return reads


def _first(operator: Operator) -> TensorRef | None:
    value = operator.arguments[0].value if operator.arguments else None
    return value if isinstance(value, TensorRef) else None


class _Sharing:
    """Sets of names that may be the same memory."""

    def __init__(self) -> None:
        self._sets: dict[str, set[str]] = {}

    def members(self, name: str) -> set[str]:
        return self._sets.setdefault(name, {name})

    def follow(self, operator: Operator, name: str) -> None:
        outputs = [output.name for output in operator.outputs if isinstance(output, TensorRef)]
        for source in _viewed(operator, name) if outputs else ():
            for output in outputs:
                self._join(source, output)

    def _join(self, one: str, other: str) -> None:
        small, large = sorted((self.members(one), self.members(other)), key=len)
        if small is not large:
            large |= small
            for name in small:
                self._sets[name] = large


def _viewed(operator: Operator, name: str) -> Iterator[str]:
    """The arguments of which a result may be a view; all of them where no schema tells."""
    overload = overload_of(name) if name in ALLOWED | IN_PLACE else None
    every = [(argument.name, argument.value) for argument in operator.arguments]
    told = None if overload is None else _annotated(overload, name)
    for argument, value in every:
        if told is None or argument in told:
            yield from (ref.name for ref in references(value) if isinstance(ref, TensorRef))


def _annotated(overload: Any, name: str) -> frozenset[str] | None:
    """Arguments whose memory the results share by the schema; None where only running it would tell."""
    if name not in FRESH and torch._C._dispatch_has_kernel_for_dispatch_key(
        overload.name(), "CompositeImplicitAutograd"
    ):
        return None
    schema = overload._schema
    results = {mark for result in schema.returns if result.alias_info for mark in result.alias_info.before_set}
    return frozenset(
        argument.name
        for argument in schema.arguments
        if argument.alias_info and results & set(argument.alias_info.before_set)
    )
