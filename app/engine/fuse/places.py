"""Where what a node computes may be written: a slot of its block's deploy form, a chain of plain layers, or nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.engine.forward.family import Family, Slot
from app.engine.forward.trace import Trace
from app.engine.fuse.survey import Survey
from app.engine.interpret.affine import Barrier, Place
from app.engine.ir import graph as ir
from app.engine.ir.graph import Node
from app.engine.ir.module import Module


@dataclass(frozen=True, slots=True)
class InSlot:
    """The slot `slot` of the block at `path`."""

    path: str
    slot: str


@dataclass(frozen=True, slots=True)
class InChain:
    """Plain layers that feed one another: one of them becomes the convolution, the others identities.

    Layers of another `group` take no part: where only the names of tensors can change, each convolution stays one.
    """

    group: str = ""


def called_modules(trace: Trace) -> dict[str, tuple[Module, Family]]:
    """Every module that was called, by path."""
    return {module.path: (module, family) for module, family in trace.calls}


def places(trace: Trace, tree: Survey) -> dict[int, Place]:
    """The place of each node, by `id(node)`."""
    called = called_modules(trace)
    shared = _shared(trace, tree)
    slots = {path: family.deploy.slots(module) for path, (module, family) in called.items() if family.deploy}
    found: dict[int, Place] = {}
    for node in trace.graph.nodes:
        found[id(node)] = _place(node, slots, shared, found)
    return found


def _place(
    node: Node, slots: Mapping[str, tuple[Slot, ...]], shared: Mapping[str, Barrier], found: dict[int, Place]
) -> Place:
    if isinstance(node.operation, ir.Apply):
        return Barrier("not-linear", f"{node.operation.name} is not linear")
    scope = node.scope
    if scope is None:
        return Barrier(
            "no-layer-of-its-own", "its operator is written in its class's code, not in a layer that can change"
        )
    barrier = shared.get(node.owner if scope.chain else scope.path)
    if barrier is not None:
        return barrier
    if scope.chain:
        return InChain(scope.path)
    return _slot_of(node, scope.path, slots[scope.path], found)


def _slot_of(node: Node, block: str, slots: tuple[Slot, ...], found: dict[int, Place]) -> Place:
    """The slot that consumes what the node reads; for an operator without weights, the slot of what feeds it."""
    touched = [node.owner, *(path for const in node.consts() for path in const.paths)]
    prefix = f"{block}." if block else ""
    for slot in slots:
        for part in slot.consumes:
            if any(path == prefix + part or path.startswith(f"{prefix}{part}.") for path in touched):
                return InSlot(block, slot.name)
    feeding = {found.get(id(value.node)) for value in node.inputs if value.node is not None}
    inside = {place for place in feeding if isinstance(place, InSlot) and place.path == block}
    if len(inside) == 1:
        return inside.pop()
    first = next((slot for slot in slots if slot.from_input), None)
    if first is not None and node.owner == block and not inside:
        return InSlot(block, first.name)
    return Barrier("no-slot", "the block's deploy form has no place for it")


def _shared(trace: Trace, tree: Survey) -> dict[str, Barrier]:
    """Modules that bound a region because they serve more than once, by path."""
    calls = trace.times_called()
    barriers = {}
    for module, family in trace.calls:
        key = id(module.node)
        if calls[key] > 1:
            barriers[module.path] = Barrier("called-twice", f"the module is called {calls[key]} times")
        elif tree.registered.get(key, 0) > 1:
            barriers[module.path] = Barrier("registered-twice", "the module is registered under more than one name")
        elif family.leaf and tree.referenced.get(key, 0) > 1:
            reason = "another attribute of the model refers to the module, and may call it"
            barriers[module.path] = Barrier("referenced-elsewhere", reason)
    return barriers
