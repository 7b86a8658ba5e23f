"""Names of a state dict as an inert module tree, and back: the tree holds the nodes of the file itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from app.engine.ir.module import MAX_DEPTH, MAX_PLACES, Module, is_name, module_node
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import tensor_of
from app.engine.weights.container import Tensors, stored
from app.errors import TooLarge

_UNKNOWN: Final = ("torch.nn.modules.module", "Module")
# Which torch.nn class has weights of so many dimensions.
LAYERS_BY_RANK: Final = {
    2: ("torch.nn.modules.linear", "Linear"),
    **{2 + dims: ("torch.nn.modules.conv", f"Conv{dims}d") for dims in (1, 2, 3)},
}
_TABLES: Final = ("_parameters", "_buffers")
STATISTICS: Final = ("running_mean", "running_var")
_BUFFERS: Final = (*STATISTICS, "num_batches_tracked")


def tree_of(tensors: Tensors) -> tuple[Module, dict[str, Object]]:
    """The modules that the names speak of, and the tensors whose names are no path of one.

    A module that holds what a convolution, a batch norm or a Linear does has that class, without a geometry: it counts
    as one and is never read as one until somebody says more. All others are of a class that nobody describes.
    """
    root = Module(module_node(_UNKNOWN, training=False))
    loose: dict[str, Object] = {}
    modules = {"": root}
    for name, node in tensors.items():
        path, _, last = name.rpartition(".")
        parts = name.split(".")
        if not all(map(is_name, parts)) or _taken(modules, parts):
            loose[name] = node
            continue
        if len(parts) > MAX_DEPTH:
            raise TooLarge(f"the names of the file nest more than {MAX_DEPTH} deep: {name[:80]}...")
        table = "_buffers" if last in _BUFFERS or not stored(node).dtype.is_floating_point else "_parameters"
        _module_at(modules, path).table(table)[last] = node
    for module in modules.values():
        _classify(module)
    return root, loose


def _taken(modules: Mapping[str, Module], parts: list[str]) -> bool:
    """Whether a name goes through a tensor, or stands where modules are: no tree of modules has both."""
    if ".".join(parts) in modules:
        return True
    for at in range(len(parts) - 1):
        above = modules.get(".".join(parts[:at]))
        if above is None:
            return False
        if any(parts[at] in above.table(table) for table in _TABLES):
            return True
    return False


def _module_at(modules: dict[str, Module], path: str) -> Module:
    """The module at a path, made with all that are missing above it."""
    missing = []
    while path not in modules:
        missing.append(path)
        path = path.rpartition(".")[0]
    for inner in reversed(missing):
        if len(modules) > MAX_PLACES:
            raise TooLarge(f"the names of the file speak of more than {MAX_PLACES:,} modules")
        above, _, name = inner.rpartition(".")
        node = module_node(_UNKNOWN, training=False)
        modules[above].table("_modules")[name] = node
        modules[inner] = Module(node, inner)
        path = inner
    return modules[path]


def _classify(module: Module) -> None:
    """Name the torch.nn class whose tensors these are."""
    if module.table("_modules"):
        return
    weight = module.tensor("weight")
    if module.tensor("running_mean") is not None and module.tensor("running_var") is not None:
        module.set_class(Global("torch.nn.modules.batchnorm", "BatchNorm2d"))
    elif weight is not None and len(weight.shape) in LAYERS_BY_RANK:
        module.set_class(Global(*LAYERS_BY_RANK[len(weight.shape)]))


def names_of(root: Module) -> Iterator[tuple[str, Object]]:
    """Every tensor that is registered in a tree, by the name that a state dict gives it."""
    for module in root.walk():
        for table in _TABLES:
            for name, node in module.table(table).items():
                if tensor_of(node) is not None:
                    yield module.at(name), node


def in_order(names: Iterable[str], after: Mapping[str, Object]) -> dict[str, Object]:
    """The tensors `after` in the order that `names` had; new ones stand where what they replace stood."""
    before = list(names)
    places = {name: place for place, name in enumerate(before)}
    anchors = _Anchors(before, after)
    numbered = {
        name: (places[name], 0) if name in places else (anchors.of(name), 1 + number)
        for number, name in enumerate(after)
    }
    return {name: after[name] for name in sorted(after, key=lambda name: numbered[name])}


class _Anchors:
    """Where the first tensor that went away stood, and the last that stayed, for each module that held some."""

    def __init__(self, before: Sequence[str], after: Mapping[str, Object]) -> None:
        self._gone: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._end = len(before)
        for place, name in enumerate(before):
            path = name.rpartition(".")[0]
            if name in after:
                self._kept[path] = place
                continue
            self._gone.setdefault(path, place)
            while path and self._gone.setdefault(path := path.rpartition(".")[0], place) == place:
                pass

    def of(self, name: str) -> int:
        """Where its module, or the block that the module lies in, lost the first one, or behind the module's others."""
        path = name.rpartition(".")[0]
        if path in self._kept and path not in self._gone:
            return self._kept[path]
        while path not in self._gone and path:
            path = path.rpartition(".")[0]
        return self._gone.get(path, self._end)


def load(root: Module, prefix: str, tensors: Tensors) -> None:
    """Let every registered tensor of the tree be the one that `tensors` has by its name; there must be one for each."""
    for module in root.walk():
        for table in _TABLES:
            content = module.table(table)
            for name, node in content.items():
                if tensor_of(node) is not None:
                    content[name] = tensors[prefix + module.at(name)]
