"""What descriptions read of a module's members, and which of the others a published class may leave unread."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from app.engine.ir.module import INTERNAL, Module, is_module
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import is_tensor

# In evaluation these give back what they get, or are asked by training alone: read or not, nothing differs.
_BYSTANDERS = ("torch.nn.modules.dropout.", "torch.nn.modules.linear.Identity", "torch.nn.modules.loss.")
_DROPS = ("DropPath", "StochasticDepth")
_COUNTER = "num_batches_tracked"  # of a batch norm: training's, if its momentum is None
_CONTAINERS = tuple(
    f"torch.nn.modules.container.{name}"
    for name in ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict")
)
# Of a ModuleDict one is asked for by name: an adapter.
_READ_IN_PARTS = ("torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList")
_TORCH = "torch.nn."
# Bound to the instance: what its class has under that name is not what runs.
_METHODS = tuple(
    Global(*path) for path in (("__builtin__", "getattr"), ("builtins", "getattr"), ("functools", "partial"))
)
# What constructors, training and the last call leave on instances, whatever their class: it does not change what the
# next call computes.
_NOTES = (
    *("drop_rate", "drop_prob", "drop_path_rate", "drop", "momentum", "mlp_ratio", "attn_ratio", "mix_block_ratio"),
    *("init_values", "layer_scale_init_value", "a_init_range", "ssd_expand", "cfgs", "best_fitness", "class_weights"),
    *("gr", "stride", "strides", "anchors", "anchors_init", "anchor_grid", "grid", "grids", "angle", "detect"),
    *("prior_prob", "grid_cell_size", "grid_cell_offset"),
)
_DEEPEST = 10  # lists within lists that are looked into


@dataclass(slots=True)
class MembersRead:
    """The names that were read, by the id of the module's node: nothing is edited while a tree is followed."""

    _seen: dict[int, tuple[Module, set[str]]] = field(default_factory=dict)

    def add(self, module: Module, names: Iterable[str]) -> None:
        self._seen.setdefault(id(module.node), (module, set()))[1].update(names)

    def unread(self, module: Module, idle: Iterable[str]) -> str | None:
        """A parameter, buffer or child that may be part of what the module computes and that nothing read.

        What a layer of torch computes is known, whatever somebody hung on it.
        """
        if module.class_path.startswith(_TORCH) and module.class_path not in _READ_IN_PARTS:
            return None
        passed_over = {_COUNTER, *idle, *self._read(module)}
        return next((name for name in _with_effect(module) if name not in passed_over), None)

    def notes_more(self, module: Module, idle: Iterable[str]) -> bool:
        """Whether the instance holds a plain attribute that may be part of what it computes and that nothing read."""
        if module.class_path.startswith(_TORCH):
            return False
        passed_over = {*INTERNAL, *_NOTES, *idle, *self._read(module)}
        return any(name not in passed_over and _may_count(value) for name, value in module.state.items())

    def _read(self, module: Module) -> set[str]:
        return self._seen[id(module.node)][1] if id(module.node) in self._seen else set()

    def looked_into(self, called: Iterable[int]) -> Iterator[Module]:
        """The modules that were read and not called (by the ids of their nodes): lists, what is taken apart."""
        called = set(called)
        return (module for key, (module, _) in self._seen.items() if key not in called)


def _may_count(value: Any, depth: int = 0) -> bool:
    """A fraction, a tensor, a module that is not registered, a method of the instance's own; or a list of such."""
    if isinstance(value, float):
        return True
    if isinstance(value, (list, tuple)):
        return depth < _DEEPEST and any(_may_count(part, depth + 1) for part in value)
    if isinstance(value, dict):
        return depth < _DEEPEST and any(_may_count(part, depth + 1) for part in value.values() if type(part) is Object)
    return isinstance(value, Object) and (is_tensor(value) or is_module(value) or value.origin in _METHODS)


def _with_effect(module: Module, depth: int = 0) -> Iterator[str]:
    for name, node in module.registered():
        if node is not None and not (is_module(node) and _stands_by(Module(node, module.at(name)), depth)):
            yield name


def _stands_by(module: Module, depth: int) -> bool:
    """Whether a module does nothing in evaluation: a Dropout, a DropPath, a list of nothing but these."""
    if module.class_path in _CONTAINERS:
        return depth < _DEEPEST and not any(_with_effect(module, depth + 1))
    if module.class_path.startswith(_BYSTANDERS):
        return True
    return module.class_path.rpartition(".")[2] in _DROPS and not any(
        node is not None for _, node in module.registered()
    )
