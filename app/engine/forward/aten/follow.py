"""Follows an exported program operator by operator, at one set of input shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from app.engine.forward.aten.allowed import ALLOWED, CHECKS, IN_PLACE, RANDOM
from app.engine.forward.aten.calls import PREFIX, Call, Place, bound, overload_of
from app.engine.forward.aten.describe import describe
from app.engine.forward.aten.emitter import Emitter, unread
from app.engine.forward.aten.identity import COPIES
from app.engine.forward.aten.literals import copied_memory, write_into
from app.engine.forward.aten.mutation import Memory, Write, memory_of
from app.engine.forward.aten.norms import NORMS
from app.engine.forward.aten.numbers import compute, is_numeric
from app.engine.forward.aten.ports import in_order, number_of, shape_of, symbols_at, user_tensors
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.exported import (
    Exported,
    ExportedGraph,
    NamedArgument,
    Operator,
    Subgraph,
    SymbolRef,
    TensorRef,
    references,
)
from app.engine.ir.graph import Apply, Const, Graph, Node, Value, live
from app.engine.ir.program import Program, Skipped

_VIEWS: Final = frozenset({f"{PREFIX}{name}" for name in ("view.default", "reshape.default", "_unsafe_view.default")})
_GRAD_MODE: Final = "torch.ops.higher_order.wrap_with_set_grad_enabled"


class _Unknown:
    """Stands for a tensor or number of which nothing is known."""


_UNKNOWN: Final = _Unknown()


def follow(exported: Exported, shapes: Mapping[str, tuple[int, ...]]) -> Program:
    """The whole program at these shapes of its inputs. What can't be read is skipped, never an error."""
    follower = _Follower(exported, symbols_at(exported, shapes), memory_of(exported))
    follower.open(shapes)
    follower.readers = _readers(exported.graph)
    for operator in exported.graph.nodes:
        follower.step(operator)
    return follower.close()


def _readers(graph: ExportedGraph) -> Mapping[str, list[Operator]]:
    """By name, the operators that read it."""
    readers: dict[str, list[Operator]] = {}
    for operator in graph.nodes:
        for ref in operator.reads():
            readers.setdefault(ref.name, []).append(operator)
    return readers


@dataclass(slots=True)
class _Follower:
    """What is known of each name so far, and what was written down."""

    exported: Exported
    symbols: Mapping[str, int]
    memory: Memory
    ops: Emitter = field(default_factory=Emitter)
    known: dict[str, Any] = field(default_factory=dict)  # Value, Const, number or _UNKNOWN
    names: dict[int, str] = field(default_factory=dict)
    own: list[Value] = field(default_factory=list)
    given: list[Value] = field(default_factory=list)  # inputs beside the file's own
    taken: list[Value] = field(default_factory=list)  # outputs beside the file's own
    skipped: list[Skipped] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)  # keeps what `names` knows by its id
    inner: bool = False  # of a graph within the graph
    readers: Mapping[str, list[Operator]] = field(default_factory=dict)

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Bind the inputs: what the caller gives, and constants; buffers that change are given as well."""
        graph = self.exported.graph
        for name, meta in user_tensors(self.exported):
            value = Value(shapes[name], None, meta.dtype or torch.float32)
            self.own.append(value)
            self._bind(name, value)
        for spec, found in zip(self.exported.inputs, graph.inputs, strict=True):
            if isinstance(found, SymbolRef):
                number = number_of(graph.symbols.get(found.name), self.symbols)
                self.known[found.name] = _UNKNOWN if number is None else number
            elif isinstance(found, TensorRef) and spec.kind != "user":
                self._bind_stored(found.name, spec.target, spec.kind)

    def _bind_stored(self, name: str, path: str, kind: str) -> None:
        stored = self.exported.stored[path]
        if name in self.memory.buffers:
            self._give(name, stored.shape, stored.dtype)
        elif kind == "constant" and stored.numel <= 1:  # a number that the model's code has in it
            self._bind(name, self.ops.constants.literal(stored.read().clone()))
        else:
            self._bind(name, self.ops.constants.stored(path, stored))

    def _bind(self, name: str, tensor: Any) -> None:
        self.known[name] = tensor
        if isinstance(tensor, (Value, Const)):
            self.held.append(tensor)
            if id(tensor) not in self.names:
                self.names[id(tensor)] = name
                meta = self.exported.graph.tensors.get(name)
                self.ops.sizes[id(tensor)] = meta.sizes if meta else ()

    def _give(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        value = Value(shape, None, dtype)
        self.given.append(value)
        self._bind(name, value)

    # --- one operator -------------------------------------------------------------------------------------------

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
            raise unread(operator.owner, "random", f"aten::{name} draws random numbers")
        else:
            raise unread(operator.owner, "operator-not-read", f"aten::{name} is not among the operators that are read")

    def _read_other(self, operator: Operator) -> None:
        if is_numeric(operator.target):
            self._compute(operator)
        elif operator.target == _GRAD_MODE:
            self._inline(operator)
        else:
            shown = operator.target.removeprefix("torch.ops.")
            raise unread(operator.owner, "operator-not-read", f"{shown} is not among the operators that are read")

    def _compute(self, operator: Operator) -> None:
        output = operator.outputs[0] if operator.outputs else None
        if output is None:
            return
        arguments = [self._resolved(argument.value, operator) for argument in operator.arguments]
        try:
            self.known[output.name] = compute(operator.target, arguments)
        except ValueError as error:
            raise unread(operator.owner, "size-of-values", f"{operator.target}: {error}") from error

    def _size(self, operator: Operator) -> None:
        """A size of a tensor; the operator reads the tensor, but where it is an input it is there anyway."""
        x, dim = (self._resolved(argument.value, operator) for argument in operator.arguments[:2])
        shape = x.shape if isinstance(x, (Value, Const)) else ()
        if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
            raise unread(operator.owner, "shapes-differ", "it asks for a dimension that is not there")
        if isinstance(x, Value) and x.node is not None:
            self.taken.append(x)
        for output in operator.outputs:
            if output is not None:
                self.known[output.name] = shape[dim]

    def _described(self, operator: Operator, name: str) -> Any:
        given = {argument.name: self._resolved(argument.value, operator) for argument in operator.arguments}
        varies = any(isinstance(ref, SymbolRef) for ref in _arguments(operator))
        call = bound(operator, name, given, varies, self._place(operator))
        if name in COPIES and self._copied_for_writing(operator):
            return self._copy(call)
        return describe(call, self.ops)

    def _place(self, operator: Operator) -> Place:
        tensors = self.exported.graph.tensors
        first = next((ref.name for ref in _arguments(operator) if isinstance(ref, TensorRef)), "")
        result = tensors.get(operator.owner)
        ordered = first in tensors and in_order(tensors[first], self.symbols)
        return Place(result.sizes if result else (), ordered, self._restored(operator))

    def _restored(self, operator: Operator) -> bool:
        """Whether the rows that an operator gives go back at once to the dimensions that its own rows came from."""
        back = self.readers.get(operator.owner, [])
        matrices = [ref.name for ref in _arguments(operator) if isinstance(ref, TensorRef)]
        if len(back) != 1 or back[0].target not in _VIEWS or operator.owner in self._fixed():
            return False
        tensors = self.exported.graph.tensors
        restored = tensors[back[0].owner].sizes
        known = [self.known.get(name) for name in matrices]
        wholes = [self.ops.whole(one) for one in known if isinstance(one, Value)]
        return any(whole is not None and self.ops.sizes.get(id(whole), ())[:-1] == restored[:-1] for whole in wholes)

    def _fixed(self) -> set[str]:
        """Names that something beside the operators reads."""
        return {ref.name for ref in references(list(self.exported.graph.outputs))} | self.exported.held

    def _copied_for_writing(self, operator: Operator) -> bool:
        """A copy whose original or which itself is written to later is not the same value."""
        touched = {ref.name for ref in (*_arguments(operator), *references(list(operator.outputs)))}
        return bool(touched & self.memory.written)

    def _copy(self, call: Call) -> Any:
        found = describe(call, self.ops)
        if isinstance(found, Value) and any(found is tensor for tensor in call.tensors()):
            return self.ops.pointwise("clone", torch.clone, found)
        return found

    def _in_place(self, operator: Operator, name: str) -> None:
        write = self.memory.writes.get(operator.owner)
        if write is not None and self._write_literal(operator, name, write):
            return
        if write is None or not write.provable or (write.outside and self.inner):
            why = f"aten::{name} changes a tensor of which a view is read later"
            raise unread(operator.owner, "changes-in-place", why)
        found = self._described(_first_renamed(operator), _out_of_place(name))
        if write.outside and isinstance(found, Value):
            self.taken.append(found)
        self._put(operator, found)
        first = operator.arguments[0].value
        self.known[first.name] = found

    def _write_literal(self, operator: Operator, name: str, write: Write) -> bool:
        """Write into a literal, and into all views of it, as the operator does; False where it is none.

        The memory is copied before: what was computed of the old numbers keeps them.
        """
        names = {*(name for name in write.others if name in self.known), *(ref.name for ref in _arguments(operator))}
        consts = {name: const for name in names if isinstance(const := self.known.get(name), Const)}
        literals = {name: const.literal for name, const in consts.items() if const.literal is not None}
        target = operator.arguments[0].value
        if len(literals) < len(names) or not isinstance(target, TensorRef):
            return False
        varies = any(const.varies for const in consts.values())
        for other, moved in copied_memory(target.name, literals).items():
            self._bind(other, self.ops.constants.literal(moved, varies))
        arguments = {one.name: self._resolved(one.value, operator) for one in operator.arguments}
        write_into(bound(operator, name, arguments, varies))
        self._put(operator, self.known[target.name])
        return True

    def _inline(self, operator: Operator) -> None:
        """A stretch with gradients switched off or on: its operators, in the name of the whole."""
        values = [argument.value for argument in operator.arguments]
        graph = next((value.graph for value in values if isinstance(value, Subgraph)), None)
        if graph is None or len(values) != len(graph.inputs) + 2:
            raise unread(operator.owner, "operator-not-read", "a part without gradients is not called as expected")
        inner = self._within(graph, values[2:], operator)
        for node in graph.nodes:
            inner.ops.owner = operator.owner
            inner._read(node)
        self._put(operator, [inner._resolved(output, operator) for output in graph.outputs])

    def _within(self, graph: ExportedGraph, arguments: Iterable[Any], operator: Operator) -> "_Follower":
        """A follower of an inner graph, which knows its own names only and writes into the same list."""
        exported = Exported(graph, (), (), {}, self.exported.functional, frozenset())
        inner = _Follower(exported, self.symbols, memory_of(exported), self.ops)
        inner.inner = True
        inner.taken, inner.held, inner.names = self.taken, self.held, dict(self.names)
        for port, argument in zip(graph.inputs, arguments, strict=True):
            if isinstance(port, (TensorRef, SymbolRef)):
                inner.known[port.name] = self._resolved(argument, operator)
        return inner

    # --- names and results ----------------------------------------------------------------------------------------

    def _resolved(self, argument: Any, operator: Operator) -> Any:
        """The argument with what is known in the place of names. Raises UnknownFlow where nothing is."""
        if isinstance(argument, (TensorRef, SymbolRef)):
            found = self.known.get(argument.name, _UNKNOWN)
            if isinstance(found, _Unknown):
                raise unread(operator.owner, "input-not-known", f"nothing is known of its input {argument.name}")
            return found
        return [self._resolved(part, operator) for part in argument] if isinstance(argument, list) else argument

    def _put(self, operator: Operator, found: Any) -> None:
        results = found if isinstance(found, list) else [found]
        if len(results) == 1 and len(operator.outputs) != 1:
            raise unread(operator.owner, "operator-not-read", "it has another number of results than the file says")
        for number, output in enumerate(operator.outputs):
            result = results[number] if number < len(results) else None
            if output is not None:
                if result is None:
                    self.known[output.name] = _UNKNOWN
                else:
                    self._bind(output.name, result)

    def _skip(self, operator: Operator, code: str, reason: str) -> None:
        """Take its inputs out of the graph and its results in, as far as their shape is known."""
        touched = [ref.name for ref in _arguments(operator)]
        self.taken.extend(self.known[name] for name in touched if isinstance(self.known.get(name), Value))
        if not (code == "input-not-known" and _only_numbers(operator)):  # what follows from another is not told twice
            self.skipped.append(Skipped(operator.owner, code, reason))
        for output in operator.outputs:
            if output is not None:
                self._open_end(output.name)
        for name in self._possibly_changed(operator, touched):
            if isinstance(self.known.get(name), (Value, Const)):
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
        if meta is None or meta.dtype is None or shape is None:
            self.known[name] = _UNKNOWN
        else:
            self._give(name, shape, meta.dtype)

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> Program:
        outputs: list[Value] = []
        names: list[str] = []
        for spec in self.exported.outputs:
            found = self.known.get(spec.value.name) if isinstance(spec.value, TensorRef) else None
            if not isinstance(found, Value):
                continue
            if spec.kind == "user":
                outputs.append(found)
                names.append(spec.value.name)
            else:
                self.taken.append(found)
        self.taken.extend(self.known[name] for name in sorted(self.exported.held) if self._computed(name))
        graph = live(Graph((*self.own, *self.given), tuple(self.ops.nodes), (outputs, _unique(self.taken))))
        inputs = tuple(name for name, _ in user_tensors(self.exported))
        named = {id(value): self.names[id(value)] for value in _values(graph) if id(value) in self.names}
        return Program(graph, inputs, tuple(names), named, _partial(graph.nodes), tuple(self.skipped))

    def _computed(self, name: str) -> bool:
        found = self.known.get(name)
        return isinstance(found, Value) and found.node is not None


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


def _arguments(operator: Operator) -> list[TensorRef | SymbolRef]:
    return list(references([argument.value for argument in operator.arguments]))


def _unique(values: list[Value]) -> list[Value]:
    return list({id(value): value for value in values}.values())


def _values(graph: Graph) -> Iterable[Value]:
    yield from graph.inputs
    for node in graph.nodes:
        yield node.output


def _partial(nodes: Iterable[Node]) -> frozenset[str]:
    """Norms that go on as a normalisation alone when their factor and offset are taken elsewhere."""
    normalised = {node.owner for node in nodes if isinstance(node.operation, Apply) and _is_norm(node.operation)}
    return frozenset(normalised)


def _is_norm(operation: Apply) -> bool:
    return f"{operation.name}.default" in NORMS
