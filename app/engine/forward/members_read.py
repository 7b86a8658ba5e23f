"""What descriptions read of a module's members, and which of the others a published class may leave unread."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from app.engine.ir.module import Module, is_module

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
        read = self._seen[id(module.node)][1] if id(module.node) in self._seen else ()
        passed_over = {_COUNTER, *idle}
        return next((name for name in _with_effect(module) if name not in read and name not in passed_over), None)

    def looked_into(self, called: Iterable[int]) -> Iterator[Module]:
        """The modules that were read and not called (by the ids of their nodes): lists, what is taken apart."""
        called = set(called)
        return (module for key, (module, _) in self._seen.items() if key not in called)


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
