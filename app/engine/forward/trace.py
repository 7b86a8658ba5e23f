"""Follows descriptions through a module tree and writes down what they say, as a graph. No weight is read.

Each description is called once, with values that know their shapes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.engine.forward.computed_weights import Computed, computed_weights, has_computed_weights
from app.engine.forward.family import Describe, Family
from app.engine.forward.members_read import MembersRead
from app.engine.forward.vocabulary import UnknownFlow, Vocabulary, const, expression
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Scope, Value
from app.engine.ir.module import Module, is_inside
from app.engine.ir.tensors import tensor_of

Lookup = Callable[[Module], Family | None]

# What Python raises where a description meets a string, a None or a list in the place of what the class keeps there.
_MISUSED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Trace:
    """A graph, and which module was read as what, in call order.

    `class_paths` are those of the modules called, as they were then: in a block's place another class may come.
    """

    graph: Graph
    calls: tuple[tuple[Module, Family], ...]
    class_paths: tuple[str, ...]

    def times_called(self) -> dict[int, int]:
        """How often each module node (by id) was called."""
        counts: dict[int, int] = {}
        for module, _ in self.calls:
            counts[id(module.node)] = counts.get(id(module.node), 0) + 1
        return counts


def trace(module: Module, shapes: Sequence[tuple[int, ...]], lookup: Lookup) -> Trace:
    """What `module` computes from inputs of these shapes.

    A module that takes a list of tensors gets a list if there are several shapes. Raises UnknownFlow.
    """
    ops = Ops(lookup=lookup)
    inputs = tuple(Value(tuple(shape)) for shape in shapes)
    outputs = Block(module, ops)(inputs[0] if len(inputs) == 1 else list(inputs))
    ops.check_overwritten(outputs)
    ops.check_looked_into()
    return ops.traced(inputs, outputs)


def trace_run(modules: Sequence[Module], shapes: Sequence[tuple[int, ...]], lookup: Lookup) -> Trace:
    """What modules compute that are called one after the other. Raises UnknownFlow."""
    ops = Ops(lookup=lookup)
    start = Value(tuple(shapes[0]))
    x: Any = start
    for module in modules:
        x = Block(module, ops)(x)
    ops.check_looked_into()
    return ops.traced((start,), x)


@dataclass(frozen=True, slots=True)
class Block:
    """A module as its description sees it: `block.conv(x)` calls a child, `block.gamma` a Const, `block.nl` an int."""

    module: Module
    ops: "Ops"
    family: Family | None = None

    def __call__(self, *inputs: Any) -> Any:
        return self.ops.call(self.module, inputs)

    def __getattr__(self, name: str) -> Any:
        found = self.find(name)
        if found is None and not self.has(name):
            raise UnknownFlow(self.module.path, "structure-differs", f"has no attribute {name}")
        return found

    def find(self, name: str) -> Any:
        """The attribute, child (as Block), parameter or buffer (as Const), else the family's default, else None."""
        self.ops.members_read.add(self.module, (name,))
        made = self.ops.computed_in(self.module).get(name)
        if made is not None:
            return expression(made.compute, *(self._below(part) for part in made.parts))
        modules = self.module.table("_modules")
        if name in modules:
            self.ops.check_members(self.module)
            child = self.module.child(name)
            return None if child is None else Block(child, self.ops)
        for table in ("_parameters", "_buffers"):
            if name in self.module.table(table):
                return self._const(name, self.module.table(table)[name])
        if name in self.module.state:
            return self._const(name, self.module.state[name])
        return dict(self.family.defaults).get(name) if self.family else None

    def _below(self, name: str) -> Any:
        """As `find`, also by a dotted name."""
        first, _, rest = name.partition(".")
        found = self.find(first)
        return found._below(rest) if rest else found

    def has(self, name: str) -> bool:
        """What `hasattr` would say (a branch set to None counts as there)."""
        return self.module.has(name) or bool(self.family and name in self.family.defaults)

    def _const(self, name: str, node: Any) -> Any:
        stored = tensor_of(node)
        return node if stored is None else const(self.module.at(name), stored)

    def __iter__(self) -> Iterator["Block"]:
        """The children in order, for ModuleList and Sequential."""
        self.ops.check_members(self.module)
        self.ops.members_read.add(self.module, map(str, self.module.table("_modules")))
        return (Block(child, self.ops) for _, child in self.module.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.module.children())

    def __getitem__(self, index: int) -> "Block":
        self.ops.check_members(self.module)
        name, child = list(self.module.children())[index]
        self.ops.members_read.add(self.module, (name,))
        return Block(child, self.ops)


@dataclass(slots=True)
class Ops(Vocabulary):
    """The vocabulary of descriptions, and calls of the modules that they name."""

    lookup: Lookup = field(kw_only=True)
    calls: list[tuple[Module, Family]] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)
    absorbing: bool = False  # the block whose scope this is takes inner blocks for parts of itself
    consumed: tuple[str, ...] = ()  # the paths that the slots of that block take
    overwritten: list[tuple[Value, int, str]] = field(default_factory=list)
    members_read: MembersRead = field(default_factory=MembersRead)
    # Found once for each module, by the id of its node: nothing is edited while a tree is followed.
    _computed: dict[int, Mapping[str, Computed]] = field(default_factory=dict)
    _readable: set[int] = field(default_factory=set)

    def traced(self, inputs: tuple[Value, ...], outputs: Any) -> Trace:
        """All that was written down so far."""
        graph = ir.live(Graph(inputs, tuple(self.nodes), outputs))
        return Trace(graph, tuple(self.calls), tuple(module.class_path for module, _ in self.calls))

    def computed_in(self, module: Module) -> Mapping[str, Computed]:
        """The weights that torch computes before each call of the module, by name."""
        key = id(module.node)
        if key not in self._computed:
            self._computed[key] = (computed_weights(module) or {}) if has_computed_weights(module) else {}
        return self._computed[key]

    def check_members(self, module: Module) -> None:
        """Raises UnknownFlow where a child can't be read: what takes its place in the flow is not known."""
        if id(module.node) in self._readable:
            return
        unread = next((name for name, child in module.members() if child is None), None)
        if unread is not None:
            raise UnknownFlow(module.at(unread), "child-not-read", "it is no plain module: calls in the file make it")
        self._readable.add(id(module.node))

    def check_all_read(self, module: Module, family: Family | None) -> None:
        """Raises UnknownFlow where the module has a parameter, buffer or child that its published class does not read.

        It is a changed class then, whatever its path: what the member does to the output can't be seen.
        """
        name = self.members_read.unread(module, family.idle if family else ())
        if name is not None:
            reason = f"{module.at(name)} is read by no description of {module.class_path}: its class was changed"
            raise UnknownFlow(module.path, "structure-differs", reason)

    def check_looked_into(self) -> None:
        """As `check_all_read`, of modules that were read without a call."""
        for module in self.members_read.looked_into(id(module.node) for module, _ in self.calls):
            self.check_all_read(module, self.lookup(module))

    def call(self, module: Module, inputs: tuple[Any, ...]) -> Any:
        """What the module computes, by the description of its class."""
        if id(module.node) in self.inside:
            raise UnknownFlow(module.path, "calls-itself", "the module contains itself")
        family = self.lookup(module)
        if family is None:
            raise UnknownFlow(module.path, "class-not-known", f"no description fits class {module.class_path}")
        return self._described(module, family, family.describe, inputs)

    def call_as(self, block: Block, describe: Describe, *inputs: Any) -> Any:
        """What the module computes as the block around it uses it: of a layer whose own description would not fit.

        LeViT's batch norm of tokens sees their channels last, where its block has flattened all but these.
        """
        family = self.lookup(block.module)
        if family is None:
            raise UnknownFlow(block.module.path, "class-not-known", f"no description fits {block.module.class_path}")
        return self._described(block.module, family, describe, inputs)

    def share_of(self, block: Block, describe: Describe, x: Value) -> Any:
        """As `call_as`, of a layer whose numbers several slots of the block around it take in, each its share."""
        module, owner = block.module, self.owner
        family = self.lookup(module)
        if family is None:
            raise UnknownFlow(module.path, "class-not-known", f"no description fits {module.class_path}")
        self._check_instance(module, family)
        self.calls.append((module, family))
        self.owner = module.path
        try:
            return describe(Block(module, self, family), x, self)
        finally:
            self.owner = owner

    def _described(self, module: Module, family: Family, describe: Describe, inputs: tuple[Any, ...]) -> Any:
        self._check_instance(module, family)
        at = len(self.calls)
        self.calls.append((module, family))
        with self._entered(module, family):
            try:
                outputs = describe(Block(module, self, family), inputs[0] if len(inputs) == 1 else inputs, self)
            except _MISUSED as error:
                reason = f"its attributes are not those of its class ({type(error).__name__}: {str(error)[:120]})"
                raise UnknownFlow(module.path, "structure-differs", reason) from error
        self.check_all_read(module, family)
        if family.members is None and self.members_read.notes_more(module, family.idle):
            self.calls[at] = (module, family.altered)
        return outputs

    def _check_instance(self, module: Module, family: Family) -> None:
        self.check_members(module)
        computed = self.computed_in(module)
        if module.hooks and not computed:
            raise UnknownFlow(module.path, "has-hooks", f"hooks run around its forward: {', '.join(module.hooks)}")
        if module.parametrized and not computed:
            raise UnknownFlow(module.path, "parametrized", "its weights are computed by a parametrization")
        if module.forward_override not in (None, *family.overrides):
            raise UnknownFlow(module.path, "forward-replaced", "an instance attribute shadows its class's forward")

    @contextmanager
    def _entered(self, module: Module, family: Family) -> Iterator[None]:
        before = (self.owner, self.scope, self.absorbing, self.consumed)
        in_block = self._in_block(module)
        self.owner = module.path
        if family.deploy is not None and not (in_block and self.absorbing):
            self.scope, self.absorbing = Scope(module.path, chain=False), family.deploy.absorbs
            self.consumed = tuple(module.at(part) for slot in family.deploy.slots(module) for part in slot.consumes)
        elif not in_block:
            self.scope = Scope("", chain=True) if family.leaf else None
        self.inside.append(id(module.node))
        try:
            yield
        finally:
            self.owner, self.scope, self.absorbing, self.consumed = before
            self.inside.pop()

    def _in_block(self, module: Module) -> bool:
        """Whether what the module does belongs to the block whose scope this is: all of it, or what its slots take.

        A module with such a part below it is looked through.
        """
        if self.scope is None or self.scope.chain:
            return False
        path = module.path
        return self.absorbing or any(is_inside(path, part) or is_inside(part, path) for part in self.consumed)

    @contextmanager
    def as_part_of(self, block: Block) -> Iterator[None]:
        """What is computed here belongs to the slot that takes this child, whatever else feeds it."""
        before, self.owner = self.owner, block.module.path
        try:
            yield
        finally:
            self.owner = before

    @contextmanager
    def outside(self) -> Iterator[None]:
        """What the block computes here belongs to none of its slots, though one of them feeds it."""
        before, self.scope = self.scope, None
        try:
            yield
        finally:
            self.scope = before

    def overwrites(self, x: Value) -> None:
        """The layer works in place: who reads `x` from here on sees the layer's output instead."""
        self.overwritten.append((x, len(self.nodes), self.owner))

    def check_overwritten(self, outputs: Any) -> None:
        """Raises UnknownFlow where a value is read after a layer wrote over it: the description says otherwise."""
        for value, at, path in self.overwritten:
            later = (read for node in self.nodes[at + 1 :] for read in node.inputs)
            if any(read is value for read in (*later, *ir.leaves(outputs))):
                raise UnknownFlow(path, "works-in-place", "it overwrites its input, which others read afterwards")
