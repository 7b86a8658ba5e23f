"""A rewritten graph as steps of the file: operators that stay, operators that are reduced, operators that are new."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from onnx import ModelProto, NodeProto, helper

from app.engine.formats.onnx.emit import Draft, Weight, emit, filled, integers
from app.engine.formats.onnx.naming import Names, all_names
from app.engine.formats.onnx.order import Step
from app.engine.forward.onnx import captured, first_output
from app.engine.ir import graph as ir
from app.engine.ir.alike import Alike
from app.engine.ir.graph import Graph, Node, Value, leaves
from app.engine.ir.program import Program


def steps_of(model: ModelProto, program: Program, graph: Graph, reserved: frozenset[str] = frozenset()) -> list[Step]:
    """What the file's operators become. Their order is nearly that of the file. No new value has a `reserved` name."""
    return list(_Rewrite(model, program, graph, reserved).steps())


@dataclass(frozen=True, slots=True)
class _Owned:
    """The nodes that an operator of the file is, and those of them that are left."""

    all: list[Node]
    left: list[Node]


class _Rewrite:
    def __init__(self, model: ModelProto, program: Program, graph: Graph, reserved: frozenset[str]) -> None:
        self._model, self._program, self._graph = model, program, graph
        self._names = dict(program.names)
        self._values = Names(all_names(model) | reserved)
        self._operators = Names(set())
        self._owned = _owned(program, graph)
        self._ones: dict[tuple[int, object], Weight] = {}
        self._alike = Alike(program.graph)
        values = (*program.graph.inputs, *(node.output for node in program.graph.nodes))
        self._by_name = {program.names[id(value)]: value for value in values if id(value) in program.names}
        self._moved = _moved(program, graph, self._owned)
        self._given = _given(program, graph, self._owned)
        # What stands where the old graph ended keeps the name of what stood there.
        for old, new in zip(leaves(program.graph.outputs), leaves(graph.outputs), strict=True):
            self._names.setdefault(id(new), self._names[id(old)])
        for name, value in zip(program.outputs, graph.outputs[0], strict=True):
            self._names.setdefault(id(value), name)

    def steps(self) -> Iterator[Step]:
        gone: dict[str, str] = {}  # names of operators that make room, by what they gave
        for place, node in enumerate(self._model.graph.node):
            owned = self._owned.get(first_output(node))
            moved = self._moved.get(first_output(node))
            if owned is None:
                yield _kept(node, place, [self._present(name) for name in node.input])
            elif moved is not None:
                yield self._elsewhere(node, moved, place)
            elif len(owned.left) == len(owned.all) or not self._reducible(node, owned):
                target = self._program.targets.get(first_output(node))
                shape = list(node.input[1:]) if target is None else [integers(target, node.input[1])]
                yield _kept(node, place, [*node.input[:1], *shape])
            elif owned.left:
                yield self._reduced(node, owned, place)
            else:
                gone[first_output(node)] = node.name
                continue
            self._operators.claim(node.name)
        yield from self._emitted(gone)

    def _elsewhere(self, node: NodeProto, moved: Node, place: int) -> Step:
        """The file's operator between other values."""
        inputs: list[str | Weight] = [self._name(moved.inputs[0]), *map(self._present, node.input[1:])]
        return Step((place, 0), inputs, captured(node), (self._name(moved.output),), node)

    def _present(self, name: str) -> str:
        """What an operator that is no node reads: of a value that is gone it wants the sizes, which others have."""
        value = self._by_name.get(self._program.aliases.get(name, name))
        if value is None or id(value) in self._given:
            return name
        alike = (other for other in self._alike.of(value) if id(other) in self._given)
        found = next(alike, None)
        return name if found is None else self._name(found)  # what nobody needs any more may read what is gone

    def _reducible(self, node: NodeProto, owned: _Owned) -> bool:
        """Of an operator that is read in parts the rest is kept whole, but where it is known to work in parts."""
        return not owned.left or first_output(node) in self._program.partial

    def _reduced(self, node: NodeProto, owned: _Owned, place: int) -> Step:
        """A normalisation without its scale or shift: ones in the place of the one, nothing in that of the other."""
        kinds = {type(part.operation) for part in owned.left}
        normalise = owned.left[0]
        inputs: list[str | Weight] = list(node.input)
        scale = next((part.operation for part in owned.all if isinstance(part.operation, ir.Scale)), None)
        if scale is not None and ir.Scale not in kinds:
            # As wide as it was: one number may stand before a dimension of any size.
            inputs[1] = self._one(prod(scale.factor.shape), normalise.output.dtype)
        if ir.Shift not in kinds:
            del inputs[2:]
        output = self._name(owned.left[-1].output)
        return Step((place, 0), inputs, (), (output,), node)

    def _one(self, width: int, dtype: torch.dtype) -> Weight:
        """A scale of ones, shared by all of that width."""
        key = width, dtype
        if key not in self._ones:
            self._ones[key] = Weight(filled(1.0, width, dtype), dtype)
        return self._ones[key]

    def _emitted(self, gone: dict[str, str]) -> Iterator[Step]:
        """New nodes, each where the operator stood that gave its output, or right behind what stands before it."""
        original = {id(node) for node in self._program.graph.nodes}
        places = {first_output(node): place for place, node in enumerate(self._model.graph.node)}
        place = 0
        for count, node in enumerate(self._graph.nodes, 1):
            place = places.get(node.owner, place)
            if id(node) in original or self._moved.get(node.owner) is node:
                continue
            drafts = emit(node, self._name, self._values.fresh)
            for draft in drafts:
                wanted = gone.get(node.owner) or draft.output
                name = wanted if draft is drafts[-1] else f"{wanted}_{draft.op_type}"
                yield _new(draft, self._operators.fresh(name), (place, count))

    def _name(self, value: Value) -> str:
        """The file's name of a value, or a new one."""
        if id(value) not in self._names:
            read = value.node.inputs if value.node else ()
            above = next((self._names[id(one)] for one in read if id(one) in self._names), "value")
            self._names[id(value)] = self._values.fresh(f"{above}_fused")
        return self._names[id(value)]


def _given(program: Program, graph: Graph, owned: dict[str, _Owned]) -> set[int]:
    """The values that have a name in the file that is written: not those within an operator."""
    original = {id(node) for node in program.graph.nodes}
    given = {id(value) for value in graph.inputs} | {
        id(node.output) for node in graph.nodes if id(node) not in original
    }
    left = [node for node in graph.nodes if id(node) in original]
    given.update(id(node.output) for node in left if id(node.output) in program.names)
    given.update(id(entry.left[-1].output) for entry in owned.values() if entry.left)
    return given


def _moved(program: Program, graph: Graph, owned: dict[str, _Owned]) -> dict[str, Node]:
    """Functions of one value that stand between other values now, by the operator of the file that they are."""
    kinds = (ir.Apply, ir.AvgPool)
    found = {}
    for node in graph.nodes:
        entry = owned.get(node.owner)
        alone = entry is not None and not entry.left and len(entry.all) == 1
        if alone and isinstance(node.operation, kinds) and node.operation is owned[node.owner].all[0].operation:
            found[node.owner] = node
    return found


def _owned(program: Program, graph: Graph) -> dict[str, _Owned]:
    left = {id(node) for node in graph.nodes}
    owned: dict[str, _Owned] = {}
    for node in program.graph.nodes:
        entry = owned.setdefault(node.owner, _Owned([], []))
        entry.all.append(node)
        if id(node) in left:
            entry.left.append(node)
    return owned


def _kept(node: NodeProto, place: int, inputs: list[str | Weight]) -> Step:
    return Step((place, 0), inputs, captured(node), tuple(node.output), node)


def _new(draft: Draft, name: str, place: tuple[int, int]) -> Step:
    node = helper.make_node(draft.op_type, [], [draft.output], name=name, **draft.attributes)
    return Step(place, list(draft.inputs), (), (draft.output,), node)
