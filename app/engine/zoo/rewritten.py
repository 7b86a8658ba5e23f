"""What the edited tree computes: the original's data flow, with the layers that took the place of others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from app.engine.forward.families import family_of
from app.engine.forward.structure import below
from app.engine.forward.trace import Trace, trace
from app.engine.fuse.places import InSlot, places
from app.engine.fuse.survey import survey
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Operation, Value, live, mapped
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.zoo.consts import reread


@dataclass(frozen=True, slots=True)
class _Filled:
    """All nodes of one slot, what they read, and what is read of them."""

    slot: InSlot
    input: Value
    output: Value


@dataclass(frozen=True, slots=True)
class Again:
    """Traces another state of the tree that `trace` was made of: the one that was written, and read back."""

    trace: Trace
    before: Mapping[str, frozenset[str]]  # names of the tensors that each module had, by path
    slots: Mapping[int, _Filled]  # by id(node)

    @classmethod
    def of(cls, found: Trace, root: Module) -> "Again":
        before = {module.path: frozenset(name for name, _ in module.tensors()) for module in root.walk()}
        return cls(found, before, dict(_slots(found, root)))

    def __call__(self, root: Module) -> Trace:
        graph = self.trace.graph
        nodes: list[Node] = []
        made: dict[int, Value] = {}
        for node in graph.nodes:
            filled = self.slots.get(id(node))
            layer = self._layer(filled.slot, root) if filled is not None else None
            if filled is not None and layer is not None:
                if node.output is filled.output:
                    nodes.append(_emit(node, _operation(layer, filled.input), (filled.input,), made))
            elif self._is_gone(node, root):
                made[id(node.output)] = made.get(id(node.inputs[0]), node.inputs[0])
            else:
                nodes.append(_emit(node, _reread(node, root), node.inputs, made))
        outputs = mapped(graph.outputs, made)
        return Trace(live(Graph(graph.inputs, tuple(nodes), outputs)), self.trace.calls, self.trace.class_paths)

    def _layer(self, slot: InSlot, root: Module) -> Module | None:
        """The layer that the training form had not: by the slot's name, within that, or in the block's place."""
        held = below(root, ".".join(filter(None, (slot.path, slot.slot))))
        block = below(root, slot.path) if slot.path else root
        places = [*(held.walk() if held is not None else ()), *([block] if block is not None else [])]
        return next((layer for layer in places if self._is_new(layer)), None)

    def _is_new(self, layer: Module) -> bool:
        return layer.tensor("weight") is not None and _names(layer) != self.before.get(layer.path, frozenset())

    def _is_gone(self, node: Node, root: Module) -> bool:
        """Whether the layer that the operator was holds nothing any more: another one has taken it in."""
        if node.scope is None or not node.scope.chain or not any(node.consts()) or not self.before.get(node.owner):
            return False
        layer = below(root, node.owner) if node.owner else root
        return layer is None or not _names(layer)


def _names(module: Module) -> frozenset[str]:
    return frozenset(name for name, _ in module.tensors())


def _slots(found: Trace, root: Module) -> Iterator[tuple[int, _Filled]]:
    """The nodes of each slot that has one way in and one way out."""
    where = places(found, survey(root))
    members: dict[InSlot, list[Node]] = {}
    for node in found.graph.nodes:
        place = where[id(node)]
        if isinstance(place, InSlot):
            members.setdefault(place, []).append(node)
    for slot, nodes in members.items():
        outputs = {id(node.output) for node in nodes}
        inputs = {id(value): value for node in nodes for value in node.inputs if id(value) not in outputs}
        if len(inputs) == 1:
            filled = _Filled(slot, next(iter(inputs.values())), nodes[-1].output)
            yield from ((id(node), filled) for node in nodes)


def _operation(layer: Module, x: Value) -> Operation:
    """What the layer computes, by the description of its class."""
    return trace(layer, (x.shape,), family_of).graph.nodes[-1].operation


def _reread(node: Node, root: Module) -> Operation:
    """The same operation with the tensors that the tree has now."""
    operation = reread(node.operation, lambda path: _at(path, root))
    if isinstance(operation, (ir.Conv, ir.Linear)) and operation.bias is None and node.scope is not None:
        return replace(operation, bias=_new_bias(node.owner, root))
    return operation


def _new_bias(path: str, root: Module) -> Const | None:
    """The bias of a layer that had none."""
    layer = below(root, path)
    bias = layer.tensor("bias") if layer is not None else None
    return Const((bias,), (f"{path}.bias",), bias.shape) if bias is not None else None


def _at(path: str, root: Module) -> StoredTensor | None:
    above, _, name = path.rpartition(".")
    module = below(root, above) if above else root
    return module.tensor(name) if module is not None else None


def _emit(node: Node, operation: Operation, inputs: tuple[Value, ...], made: dict[int, Value]) -> Node:
    output = Value(node.output.shape, None, node.output.dtype)
    found = Node(operation, tuple(made.get(id(value), value) for value in inputs), output, node.owner, node.scope)
    output.node = found
    made[id(node.output)] = output
    return found
