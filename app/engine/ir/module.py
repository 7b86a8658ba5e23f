"""A view of an inert object as a torch.nn.Module: class path, tensors, children, attributes; and edits of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from app.engine.ir.methods import run_by_call
from app.engine.ir.node import MISSING, Global, Object
from app.engine.ir.sets import OrderedSet
from app.engine.ir.tensors import StoredTensor, tensor_of
from app.errors import TooLarge

MAX_PLACES = 100_000
MAX_MEMBERS = 2_000_000  # attributes, parameters, buffers and children of all places: many modules may share a table
MAX_DEPTH = 100  # descriptions are followed by recursion; real models nest a dozen deep

_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character, that no report could name

_ORDERED_DICT = Global("collections", "OrderedDict")
_RECONSTRUCTORS = {Global("copy_reg", "_reconstructor"), Global("copyreg", "_reconstructor")}

# What torch.nn.Module.__init__ sets; a node that takes a module's place must have all of it.
_HOOK_TABLES = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TABLES = ("_parameters", "_buffers", "_modules")
INTERNAL = frozenset(  # `_backend` was there until torch 1.5
    {*_TABLES, *_HOOK_TABLES, "training", "_non_persistent_buffers_set", "_is_full_backward_hook", "_backend"}
)


def mapping(node: Any) -> dict[Any, Any] | None:
    """The content of a dict or OrderedDict node, to be read and edited in place; None for anything else."""
    if isinstance(node, dict):
        return node
    if isinstance(node, Object) and node.origin == _ORDERED_DICT:
        return node.pairs
    return None


def class_of(node: Any) -> Global | None:
    """The class of an inert instance; None where the node is not one."""
    if not isinstance(node, Object):
        return None
    if node.how != "reduce":
        return node.origin if isinstance(node.origin, Global) else None
    if isinstance(node.origin, Global) and node.origin in _RECONSTRUCTORS and node.args:
        return node.args[0] if isinstance(node.args[0], Global) else None
    return None


def is_module(node: Any) -> bool:
    """True for an inert instance whose state has the tables of torch.nn.Module."""
    if class_of(node) is None or not isinstance(node.state, dict) or node.setter is not None:
        return False
    if node.module_state is node.state:
        return True
    for name in _TABLES:
        table = mapping(node.state.get(name))
        if table is None or not all(map(is_name, table)):
            return False
    node.module_state = node.state
    return True


def is_name(key: Any) -> bool:
    """What torch.nn.Module takes as the name of a parameter or child: paths are made of them."""
    if not isinstance(key, str):
        return False
    return key.isidentifier() or (key != "" and "." not in key and not _SURROGATES.search(key))


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the file at `path` (dotted, empty for the root). Reads and edits go straight to the inert node."""

    node: Object
    path: str = ""

    @property
    def class_path(self) -> str:
        name = class_of(self.node)
        assert name is not None
        return name.path

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.node.state
        return state

    def table(self, name: str) -> dict[str, Any]:
        """`_parameters`, `_buffers` or `_modules`."""
        found = mapping(self.node.state[name])
        assert found is not None
        return found

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def child(self, name: str) -> "Module | None":
        node = self.table("_modules").get(name)
        return Module(node, self.at(name)) if isinstance(node, Object) and is_module(node) else None

    def children(self) -> Iterator[tuple[str, "Module"]]:
        for name, node in self.table("_modules").items():
            if is_module(node):
                yield str(name), Module(node, self.at(str(name)))

    def members(self) -> Iterator[tuple[str, "Module | None"]]:
        """As `children`, with None for one that can't be read as a module: a call made it (torch.compile, torch.fx)."""
        for name, node in self.table("_modules").items():
            if node is not None:
                yield str(name), Module(node, self.at(str(name))) if is_module(node) else None

    def walk(self) -> Iterator["Module"]:
        """This module and all below, each place once, parents first; a module inside itself is not entered again.

        Raises TooLarge where modules that share modules unfold into more places, or nest deeper, than any real model.
        """
        stack: list[tuple[Module, tuple[int, ...]]] = [(self, ())]
        count = members = 0
        while stack:
            module, above = stack.pop()
            count += 1
            members += len(module.state) + sum(len(module.table(name)) for name in _TABLES)
            if members > MAX_MEMBERS:
                raise _too_many_members()
            if count > MAX_PLACES:
                raise TooLarge(f"the module tree unfolds into more than {MAX_PLACES:,} modules")
            if len(above) > MAX_DEPTH:
                raise TooLarge(f"the module tree nests more than {MAX_DEPTH} deep, at {module.path[:80]}...")
            yield module
            here = (*above, id(module.node))
            inner = [child for _, child in module.children() if id(child.node) not in here]
            stack.extend((child, here) for child in reversed(inner))

    def tensor(self, name: str) -> StoredTensor | None:
        """The parameter, buffer or plain attribute of that name, if it is a tensor."""
        for table in (self.table("_parameters"), self.table("_buffers"), self.state):
            if name in table:
                return tensor_of(table[name])
        return None

    def tensors(self) -> Iterator[tuple[str, StoredTensor]]:
        """The module's own parameters and buffers (not its children's)."""
        for table in ("_parameters", "_buffers"):
            for name, node in self.table(table).items():
                stored = tensor_of(node)
                if stored is not None:
                    yield str(name), stored

    def parameters(self) -> Iterator[tuple[str, StoredTensor]]:
        for name, node in self.table("_parameters").items():
            stored = tensor_of(node)
            if stored is not None:
                yield str(name), stored

    def attribute(self, name: str, default: Any = MISSING) -> Any:
        """A plain instance attribute; class attributes are not in the file, so a default may be needed."""
        return self.state.get(name, default)

    def has(self, name: str) -> bool:
        """Whether `hasattr` would find it on the instance: attribute, parameter, buffer or child (None included)."""
        return name in self.state or any(name in self.table(t) for t in _TABLES)

    def member_names(self) -> Iterator[str]:
        """Every attribute, parameter, buffer and child but those that each torch.nn.Module has; None included."""
        yield from (name for name in self.state if name not in INTERNAL)
        yield from self.registered_names()

    def registered(self) -> Iterator[tuple[str, Any]]:
        """Every parameter, buffer and child with its name; None included."""
        for table in _TABLES:
            yield from ((str(name), node) for name, node in self.table(table).items())

    def registered_names(self) -> Iterator[str]:
        return (name for name, _ in self.registered())

    @property
    def hooks(self) -> tuple[str, ...]:
        """The tables of forward or backward hooks that are not empty."""
        return tuple(name for name in _FORWARD_HOOKS if mapping(self.state.get(name)))

    @property
    def parametrized(self) -> bool:
        return "parametrizations" in self.table("_modules")

    @property
    def forward_override(self) -> str | None:
        """The method that the instance attribute `forward` is bound to (`fuseforward`), `?` for anything else.

        `?` too where another method is shadowed that runs when the module is called.
        """
        if any(self.state.get(name) is not None for name in run_by_call(self.class_path)):
            return "?"
        if "forward" not in self.state:
            return None
        node = self.state["forward"]
        if isinstance(node, Object) and isinstance(node.origin, Global) and node.origin.name == "getattr":
            target, name = (*node.args, None, None)[:2]
            if target is self.node and isinstance(name, str):
                return name
        return "?"

    def replace_child(self, name: str, node: Object | None) -> None:
        self.table("_modules")[name] = node

    def set_class(self, name: Global) -> None:
        """Make the node an instance of another class; identity, state and hooks stay."""
        if self.node.how == "reduce":
            self.node.args = (name, *self.node.args[1:])
        else:
            self.node.origin = name

    def drop(self, name: str) -> None:
        """Remove an attribute, parameter, buffer or child of that name, as `del module.name` does."""
        self.state.pop(name, None)
        for table in _TABLES:
            self.table(table).pop(name, None)


def check_tables(objects: Iterable[Object]) -> None:
    """Raises TooLarge where modules hold more members than any real model's; before names are looked at one by one.

    Many modules may share one table: a small file can hold ten thousand million names.
    """
    members = 0
    for node in objects:
        if isinstance(node.state, dict):
            members += sum(len(mapping(node.state.get(name)) or ()) for name in _TABLES)
        if members > MAX_MEMBERS:
            raise _too_many_members()


def _too_many_members() -> TooLarge:
    return TooLarge(f"the modules have more than {MAX_MEMBERS:,} attributes, parameters and buffers")


def is_inside(path: str, outer: str) -> bool:
    """Whether a dotted path is another one or lies below it."""
    return not outer or path == outer or path.startswith(f"{outer}.")


def ordered_dict(pairs: dict[Any, Any] | None = None) -> Object:
    return Object(_ORDERED_DICT, (), "reduce", pairs=dict(pairs or {}))


def module_node(
    class_path: tuple[str, str],
    *,
    training: bool,
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
) -> Object:
    """A complete module: all the tables that torch.nn.Module.__init__ makes, so that forward and hooks work."""
    state: dict[str, Any] = {
        "training": training,
        "_parameters": dict(parameters or {}),
        "_buffers": dict(buffers or {}),
    }
    state["_non_persistent_buffers_set"] = OrderedSet()
    state["_backward_pre_hooks"] = ordered_dict()
    state["_backward_hooks"] = ordered_dict()
    state["_is_full_backward_hook"] = None
    for table in _HOOK_TABLES[2:]:
        state[table] = ordered_dict()
    state["_modules"] = dict(modules or {})
    state.update(attributes or {})
    return Object(Global(*class_path), (), "newobj", state=state)


def identity_node(training: bool) -> Object:
    return module_node(("torch.nn.modules.linear", "Identity"), training=training)
