"""Follows an exported program operator by operator, at one set of input shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from app.engine.forward.aten.allowed import ALLOWED, CHECKS, IN_PLACE, RANDOM
from app.engine.forward.aten.calls import PREFIX, Call, bound, overload_of
from app.engine.forward.aten.effects import without_dead
from app.engine.forward.aten.emitter import Emitter, unread
from app.engine.forward.aten.known import NOTHING, Known
from app.engine.forward.aten.literals import copied_memory, write_into
from app.engine.forward.aten.mutation import Memory, Write, memory_of
from app.engine.forward.aten.numbers import compute, is_numeric
from app.engine.forward.aten.operators import COPIES, NORMS, describe
from app.engine.forward.aten.ports import number_of, shape_of, symbols_at, user_tensors
from app.engine.forward.aten.surroundings import Surroundings
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.exported import (
    Exported,
    ExportedGraph,
    InputSpec,
    NamedArgument,
    Operator,
    Subgraph,
    SymbolRef,
    TensorRef,
)
from app.engine.ir.graph import Apply, Const, Graph, Node, Value, live
from app.engine.ir.program import Program, Skipped

# Dtypes of which a tensor can be made up to stand for what is not read.
_GIVEN: Final = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    }
)
_GRAD_MODE: Final = "torch.ops.higher_order.wrap_with_set_grad_enabled"


def follow(exported: Exported, shapes: Mapping[str, tuple[int, ...]]) -> Program:
    """The whole program at these shapes of its inputs. What can't be read is skipped, never an error."""
    exported = without_dead(exported)
    follower = _follower(exported, symbols_at(exported, shapes), Emitter())
    own = follower.open(shapes)
    for operator in exported.graph.nodes:
        follower.step(operator)
    return follower.close(own)


def _follower(exported: Exported, symbols: Mapping[str, int], ops: Emitter) -> "_Follower":
    known = Known(exported.graph.tensors, ops)
    return _Follower(exported, symbols, memory_of(exported), Surroundings(exported, symbols), ops, known)


@dataclass(slots=True)
class _Follower:
    """Reads one operator after the other, and collects what it can't read."""

    exported: Exported
    symbols: Mapping[str, int]
    memory: Memory
    around: Surroundings
    ops: Emitter
    known: Known
    taken: list[Value] = field(default_factory=list)  # outputs beside the file's own
    skipped: list[Skipped] = field(default_factory=list)
    inner: bool = False  # of a graph within the graph

    # --- the inputs ----------------------------------------------------------------------------------------------

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Value]:
        """Bind the inputs: what the caller gives, which is returned, and constants; buffers that change are given."""
        own = []
        for name, meta in user_tensors(self.exported):
            own.append(Value(shapes[name], None, meta.dtype or torch.float32))
            self.known.bind(name, own[-1])
        for spec, port in zip(self.exported.inputs, self.exported.graph.inputs, strict=True):
            if isinstance(port, SymbolRef):
                number = number_of(self.exported.graph.symbols.get(port.name), self.symbols)
                self.known.bind(port.name, NOTHING if number is None else number)
            elif isinstance(port, TensorRef) and spec.kind != "user":
                self._bind_stored(port.name, spec)
        return own

    def _bind_stored(self, name: str, spec: InputSpec) -> None:
        stored = self.exported.stored[spec.target]
        if name in self.memory.buffers:
            self.known.give(name, stored.shape, stored.dtype)
        elif spec.kind == "constant" and stored.numel <= 1:  # a number that the model's code has in it
            self.known.bind(name, self.ops.constants.literal(stored.read().clone()))
        else:
            self.known.bind(name, self.ops.constants.stored(spec.target, stored))

    # --- one operator --------------------------------------------------------------------------------------------

    def step(self, operator: Operator) -> None:
        """Read an operator, or skip it with the reason."""
        self.ops.owner = operator.owner
        nodes, taken = len(self.ops.nodes), len(self.taken)
        try:
            self._read(operator)
        except UnknownFlow as why:
            del self.ops.nodes[nodes:], self.taken[taken:]
            self._skip(operator, why.code, why.reason)

    def _read(self, operator: Operator) -> None:
        name = operator.target.removeprefix(PREFIX)
        if name == operator.target:
            self._read_other(operator)
        elif name in CHECKS:
            return
        elif name == "sym_size.int":
            self._size(operator)
        elif name in IN_PLACE:
            self._in_place(operator, name)
        elif name in ALLOWED:
            self._put(operator, self._described(operator, name))
        elif name in RANDOM:
            raise self._unread("random", f"aten::{name} draws random numbers")
        else:
            raise self._unread("operator-not-read", f"aten::{name} is not among the operators that are read")

    def _read_other(self, operator: Operator) -> None:
        if is_numeric(operator.target):
            self._compute(operator)
        elif operator.target == _GRAD_MODE:
            self._inline(operator)
        else:
            shown = operator.target.removeprefix("torch.ops.")
            raise self._unread("operator-not-read", f"{shown} is not among the operators that are read")

    def _unread(self, code: str, reason: str) -> UnknownFlow:
        return unread(self.ops.owner, code, reason)

    def _compute(self, operator: Operator) -> None:
        output = operator.outputs[0] if operator.outputs else None
        if output is None:
            return
        arguments = [self.known.resolved(argument.value) for argument in operator.arguments]
        try:
            self.known.bind(output.name, compute(operator.target, arguments))
        except ValueError as error:
            raise self._unread("size-of-values", f"{operator.target}: {error}") from error

    def _size(self, operator: Operator) -> None:
        """A size of a tensor; the operator reads the tensor, but where it is an input it is there anyway."""
        x, dim = (self.known.resolved(argument.value) for argument in operator.arguments[:2])
        shape = x.shape if isinstance(x, (Value, Const)) else ()
        if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
            raise self._unread("shapes-differ", "it asks for a dimension that is not there")
        if isinstance(x, Value) and x.node is not None:
            self.taken.append(x)
        for output in operator.outputs:
            if output is not None:
                self.known.bind(output.name, shape[dim])

    def _described(self, operator: Operator, name: str) -> Any:
        given = {argument.name: self.known.resolved(argument.value) for argument in operator.arguments}
        varies = any(isinstance(ref, SymbolRef) for ref in operator.reads())
        call = bound(operator, name, given, varies, self.around.place(operator, self.known))
        if name in COPIES and self._written_later(operator):
            return self._copy(call)
        return describe(call, self.ops)

    def _written_later(self, operator: Operator) -> bool:
        """Whether what a copy is made of, or the copy itself, is written to: then they are not the same value."""
        names = {ref.name for ref in operator.reads()} | {one.name for one in operator.outputs if one is not None}
        return bool(names & self.memory.written)

    def _copy(self, call: Call) -> Any:
        found = describe(call, self.ops)
        if isinstance(found, Value) and any(found is tensor for tensor in call.tensors()):
            return self.ops.pointwise("clone", torch.clone, found)
        return found

    # --- operators that write into what they are given -------------------------------------------------------------

    def _in_place(self, operator: Operator, name: str) -> None:
        write = self.memory.writes.get(operator.owner)
        if write is not None and self._write_literal(operator, name, write):
            return
        if write is None or not write.provable or (write.outside and self.inner):
            raise self._unread("changes-in-place", f"aten::{name} changes a tensor of which a view is read later")
        found = self._described(_first_renamed(operator), _out_of_place(name))
        if write.outside and isinstance(found, Value):
            self.taken.append(found)
        self._put(operator, found)
        self.known.bind(operator.arguments[0].value.name, found)

    def _write_literal(self, operator: Operator, name: str, write: Write) -> bool:
        """Write into a literal, and into all views of it, as the operator does; False where it is none.

        The memory is copied before: what was computed of the old numbers keeps them.
        """
        names = {*(one for one in write.others if one in self.known.found), *(ref.name for ref in operator.reads())}
        consts = {one: const for one in names if (const := self.known.const(one)) is not None}
        literals = {one: const.literal for one, const in consts.items() if const.literal is not None}
        target = operator.arguments[0].value
        if len(literals) < len(names) or not isinstance(target, TensorRef):
            return False
        varies = any(const.varies for const in consts.values())
        for other, moved in copied_memory(target.name, literals).items():
            self.known.bind(other, self.ops.constants.literal(moved, varies))
        arguments = {one.name: self.known.resolved(one.value) for one in operator.arguments}
        write_into(bound(operator, name, arguments, varies))
        self._put(operator, self.known.found[target.name])
        return True

    # --- graphs within the graph ------------------------------------------------------------------------------------

    def _inline(self, operator: Operator) -> None:
        """A stretch with gradients switched off or on: its operators, in the name of the whole."""
        values = [argument.value for argument in operator.arguments]
        graph = next((value.graph for value in values if isinstance(value, Subgraph)), None)
        if graph is None or len(values) != len(graph.inputs) + 2:
            raise self._unread("operator-not-read", "a part without gradients is not called as expected")
        inner = self._within(graph, values[2:])
        for node in graph.nodes:
            inner._read(node)
        self._put(operator, [inner.known.resolved(output) for output in graph.outputs])

    def _within(self, graph: ExportedGraph, arguments: Iterable[Any]) -> "_Follower":
        """A follower of an inner graph, which knows its own names only and writes into the same list."""
        exported = Exported(graph, (), (), {}, self.exported.functional, frozenset(), {}, {})
        inner = _follower(exported, self.symbols, self.ops)
        inner.inner, inner.taken = True, self.taken
        inner.known.names |= self.known.names
        for port, argument in zip(graph.inputs, arguments, strict=True):
            if isinstance(port, (TensorRef, SymbolRef)):
                inner.known.bind(port.name, self.known.resolved(argument))
        return inner

    # --- results ------------------------------------------------------------------------------------------------------

    def _put(self, operator: Operator, found: Any) -> None:
        results = found if isinstance(found, list) else [found]
        if len(results) == 1 and len(operator.outputs) != 1:
            raise self._unread("operator-not-read", "it has another number of results than the file says")
        for number, output in enumerate(operator.outputs):
            result = results[number] if number < len(results) else None
            if output is not None:
                self.known.bind(output.name, NOTHING if result is None else result)

    def _skip(self, operator: Operator, code: str, reason: str) -> None:
        """Take its inputs out of the graph and its results in, as far as their shape is known."""
        touched = [ref.name for ref in operator.reads()]
        self.taken.extend(value for value in map(self.known.value, touched) if value is not None)
        if not (code == "input-not-known" and _only_numbers(operator)):  # what follows from another is not told twice
            self.skipped.append(Skipped(operator.owner, code, reason))
        for output in operator.outputs:
            if output is not None:
                self._open_end(output.name)
        for name in self._possibly_changed(operator, touched):
            if self.known.value(name) or self.known.const(name):
                self._open_end(name)

    def _possibly_changed(self, operator: Operator, touched: list[str]) -> Iterable[str]:
        """What an operator that is not read may have written into."""
        write = self.memory.writes.get(operator.owner)
        if write is not None:
            return sorted(write.others)
        if self.exported.functional or operator.target.removeprefix(PREFIX) in ALLOWED | RANDOM:
            return ()
        return touched

    def _open_end(self, name: str) -> None:
        meta = self.exported.graph.tensors.get(name)
        shape = None if meta is None else shape_of(meta, self.symbols)
        if meta is None or meta.dtype not in _GIVEN or shape is None:
            self.known.bind(name, NOTHING)
        else:
            self.known.give(name, shape, meta.dtype)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self, own: list[Value]) -> Program:
        """The program; `own` are its inputs."""
        outputs: list[Value] = []
        names: list[str] = []
        for spec in self.exported.outputs:
            found = self.known.value(spec.value.name) if isinstance(spec.value, TensorRef) else None
            if found is not None and spec.kind == "user":
                outputs.append(found)
                names.append(spec.value.name)
            elif found is not None:
                self.taken.append(found)
        held = map(self.known.value, sorted(self.exported.held))
        self.taken.extend(value for value in held if value is not None and value.node is not None)
        graph = live(Graph((*own, *self.known.given), tuple(self.ops.nodes), (outputs, _unique(self.taken))))
        inputs = tuple(name for name, _ in user_tensors(self.exported))
        named = {id(value): self.known.names[id(value)] for value in _values(graph) if id(value) in self.known.names}
        return Program(graph, inputs, tuple(names), named, _partial(graph.nodes), tuple(self.skipped))


def _out_of_place(name: str) -> str:
    """`relu_.default` -> `relu.default`"""
    base, _, overload = name.partition(".")
    return f"{base[:-1]}.{overload}"


def _first_renamed(operator: Operator) -> Operator:
    """The first argument by the name that the operator which gives a new tensor has for it."""
    first, *others = operator.arguments
    parameters = overload_of(_out_of_place(operator.target.removeprefix(PREFIX)))._schema.arguments
    renamed = NamedArgument(parameters[0].name, first.value)
    return Operator(operator.target, (renamed, *others), operator.outputs, operator.name)


def _only_numbers(operator: Operator) -> bool:
    return all(isinstance(output, SymbolRef) for output in operator.outputs)


def _unique(values: list[Value]) -> list[Value]:
    return list({id(value): value for value in values}.values())


def _values(graph: Graph) -> Iterable[Value]:
    yield from graph.inputs
    for node in graph.nodes:
        yield node.output


def _partial(nodes: Iterable[Node]) -> frozenset[str]:
    """Norms that go on as a normalisation alone when their factor and offset are taken elsewhere."""
    return frozenset(node.owner for node in nodes if isinstance(node.operation, Apply) and _is_norm(node.operation))


def _is_norm(operation: Apply) -> bool:
    return f"{operation.name}.default" in NORMS
