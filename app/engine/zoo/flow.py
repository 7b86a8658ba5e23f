"""An exported program as a trace of the module tree: each operator is a layer's, lies in a block, or is nobody's."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.engine.forward.families import family_of
from app.engine.forward.family import Family
from app.engine.forward.trace import Trace
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node, Scope, Value, live, mapped
from app.engine.ir.module import Module, is_inside
from app.engine.ir.program import Program
from app.engine.zoo.consts import reread
from app.engine.zoo.rows import norms_along_rows

Stacks = Mapping[str, tuple[str, ...]]
_LAYERS = (ir.Conv, ir.Linear)


def _never(*_: Any) -> Any:
    raise AssertionError("the data flow is known: no description is followed")


def traced(program: Program, stacks: Stacks, root: Module) -> Trace:
    """The program with each node's `owner` a path of the tree, and the scope in which it may be rewritten.

    Its constants are the tree's tensors by name; it keeps those that the tree has not.
    """
    tensors = {module.at(name): held for module in root.walk() for name, held in module.tensors()}
    modules = {module.path: module for module in root.walk()}
    plain = norms_along_rows(program.graph)
    blocks = _blocks(plain, stacks, modules)
    forms = {path: _Form.of(modules[path], family) for path, family in blocks.items()}
    owners = {id(node): _owner(node, stacks, modules) for node in plain.nodes}
    groups = _groups(plain, owners, modules)
    nodes = []
    made: dict[int, Value] = {}
    for node in plain.nodes:
        owner, block = owners[id(node)], _block_of(node, owners[id(node)], stacks, forms)
        scope = Scope(block, chain=False) if block is not None else None
        if block is None and id(node) in groups:
            scope = Scope(groups[id(node)], chain=True)
        operation = reread(node.operation, tensors.get)
        nodes.append(_moved(node, operation, owner, scope, made))
    graph = Graph(plain.inputs, tuple(nodes), mapped(plain.outputs, made))
    calls = tuple(_calls(graph, modules, blocks, forms))
    return Trace(live(graph), calls, tuple(module.class_path for module, _ in calls))


def _moved(node: Node, operation: ir.Operation, owner: str, scope: Scope | None, made: dict[int, Value]) -> Node:
    """The operation in the node's place; values know their node, so its output is another value."""
    output = Value(node.output.shape, None, node.output.dtype)
    inputs = tuple(made.get(id(value), value) for value in node.inputs)
    found = Node(operation, inputs, output, owner, scope)
    output.node = found
    made[id(node.output)] = output
    return found


# --- whose an operator is ---------------------------------------------------------------------------------------------


def _owner(node: Node, stacks: Stacks, modules: Mapping[str, Module]) -> str:
    """The module whose tensors it reads, else the innermost one in whose code it stands."""
    holders = {path.rpartition(".")[0] for const in node.consts() for path in const.paths}
    if len(holders) == 1 and (held := next(iter(holders))) in modules:
        return held
    stack = [path for path in stacks.get(node.owner, ()) if path in modules]
    return stack[-1] if stack else ""


@dataclass(frozen=True, slots=True)
class _Form:
    """What of a block its slots take: all that is in it, or these paths."""

    absorbs: bool
    consumed: tuple[str, ...]

    @classmethod
    def of(cls, module: Module, family: Family) -> "_Form":
        assert family.deploy is not None
        slots = family.deploy.slots(module)
        return cls(family.deploy.absorbs, tuple(module.at(part) for slot in slots for part in slot.consumes))

    def takes(self, path: str) -> bool:
        return self.absorbs or any(is_inside(path, part) or is_inside(part, path) for part in self.consumed)


def _blocks(graph: Graph, stacks: Stacks, modules: Mapping[str, Module]) -> dict[str, Family]:
    """The described blocks with a deploy form that operators run in, by path."""
    paths = {path for node in graph.nodes for path in stacks.get(node.owner, ()) if path in modules}
    families = {path: family_of(modules[path]) for path in sorted(paths)}
    found = {path: family for path, family in families.items() if family is not None and family.deploy is not None}
    return {path: family for path, family in found.items() if not _is_out_of_reach(family)}


def _is_out_of_reach(family: Family) -> bool:
    return family.deploy is not None and (family.deploy.spread or family.deploy.renames)


def _block_of(node: Node, owner: str, stacks: Stacks, blocks: Mapping[str, _Form]) -> str | None:
    """The block whose slots the operator may go to, if its slots take what lies in the layer that the operator is.

    The outermost that absorbs others, else the innermost: as the tracer of descriptions has it.
    """
    found: str | None = None
    for path in dict.fromkeys((*stacks.get(node.owner, ()), owner)):
        form = blocks[found] if found is not None else None
        within = form is not None and form.takes(path)
        if form is not None and form.absorbs:
            return found
        if path in blocks:
            found = path
        elif not within:
            found = None
    return found


# --- layers and what goes into them -----------------------------------------------------------------------------------


def _groups(graph: Graph, owners: Mapping[int, str], modules: Mapping[str, Module]) -> dict[int, str]:
    """The layer, by path, that each convolution is and each norm belongs to: what feeds it, else its only reader."""
    layers = {id(n): owners[id(n)] for n in graph.nodes if _is_layer(n, owners[id(n)], modules)}
    reads: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            reads.setdefault(id(value), []).append(node)
    for value in graph.output_values():
        reads.setdefault(id(value), []).extend([_OUTSIDE, _OUTSIDE])
    makers = {id(node.output): node for node in graph.nodes}
    norms = _norms(graph, owners, modules)
    found = dict(layers)
    for node in graph.nodes:
        norm = norms.get(owners[id(node)], 0)
        if not norm or not any(node.consts()):
            continue
        maker = makers.get(id(node.inputs[0]))
        group = found.get(id(maker)) if maker is not None and len(reads[id(maker.output)]) == 1 else None
        readers = reads.get(id(node.output), [])
        if group is None and norm == 1 and len(readers) == 1:
            group = layers.get(id(readers[0]))
        if group is not None:
            found[id(node)] = group
    return found


_OUTSIDE = Node(ir.Add(), (), Value(()), "", None)  # stands for what reads an output of the model


def _is_layer(node: Node, owner: str, modules: Mapping[str, Module]) -> bool:
    """Whether the operator is all that a layer with `weight` and maybe `bias` computes with these."""
    if not isinstance(node.operation, _LAYERS):
        return False
    weight, bias = node.operation.weight, node.operation.bias
    at = modules[owner].at
    plain = all(const.compute is None and len(const.paths) == 1 for const in node.consts())
    own = weight.paths == (at("weight"),) and (bias is None or bias.paths == (at("bias"),))
    return plain and own and {name for name, _ in modules[owner].tensors()} <= {"weight", "bias"}


def _norms(graph: Graph, owners: Mapping[int, str], modules: Mapping[str, Module]) -> dict[str, int]:
    """Of how many operators each norm with running statistics is, by path; none of them is anything but affine."""
    parts: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if any(node.consts()):
            parts.setdefault(owners[id(node)], []).append(node)
    return {
        path: len(nodes)
        for path, nodes in parts.items()
        if {"running_mean", "running_var"} <= {name for name, _ in modules[path].tensors()}
        and not _below(modules[path])
        and all(isinstance(node.operation, (ir.BatchNorm, ir.Scale, ir.Shift)) for node in nodes)
    }


def _below(module: Module) -> bool:
    """Whether modules below this one hold tensors, which would go with it."""
    return any(any(part.tensors()) for part in module.walk() if part.path != module.path)


# --- who is called, and how often -------------------------------------------------------------------------------------


def _calls(
    graph: Graph, modules: Mapping[str, Module], blocks: Mapping[str, Family], forms: Mapping[str, _Form]
) -> Iterator[tuple[Module, Family]]:
    """A layer as often as operators of a kind read its tensors, a block as that of its slots' layers called most.

    What a block holds itself says nothing: one factor may be read in several places of one call.
    """
    counts: Counter[tuple[str, type]] = Counter()
    for node in graph.nodes:
        counts.update({(path, type(node.operation)) for const in node.consts() for path in const.paths})
    calls: Counter[str] = Counter()
    for (path, _), count in counts.items():
        holder = path.rpartition(".")[0]
        calls[holder] = max(calls[holder], count)
    for path, count in calls.items():
        if path in modules and path not in blocks:
            yield from [(modules[path], _layer_family(modules[path]))] * count
    for path, family in blocks.items():
        below = {holder: count for holder, count in calls.items() if holder != path and is_inside(holder, path)}
        within = [count for holder, count in below.items() if forms[path].takes(holder)]
        yield from [(modules[path], family)] * max(within or [calls[path]], default=1)


def _layer_family(module: Module) -> Family:
    """What the report calls the layer."""
    found = family_of(module)
    name = found.read_as if found is not None and found.leaf else module.class_path.rpartition(".")[2]
    return Family(name, (module.class_path,), _never, leaf=True)
