"""The layers of a module tree: as they were, as they are once it was edited, and what became of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.engine.fuse.replacement import Replacement
from app.engine.ir.graph import Graph
from app.engine.ir.module import Module
from app.engine.ir.node import Object
from app.engine.layers.multiply_adds import by_owner, kept
from app.engine.layers.rows import row
from app.engine.layers.texts import kind_of, text_of
from app.report import MAX_LAYERS, Fate, Layer, Tree


@dataclass(frozen=True, slots=True)
class Sketch:
    """A module as it was when it was looked at. Its node tells it from one that takes its place."""

    node: Object
    path: str
    kind: str
    text: str
    parameters: int


@dataclass(frozen=True, slots=True)
class Edit:
    """How a tree was edited: its modules before (None: too many), and the new layer of each replacement by its id."""

    before: tuple[Sketch, ...] | None
    standing: Mapping[int, Object]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was done to a tree. `graph` is of the whole model; None where it was not followed as a whole."""

    replacements: Sequence[Replacement]
    refused: Iterable[str]  # paths
    removed: Sequence[str]  # paths, each with all below
    graph: Graph | None


def sketch(root: Module) -> tuple[Sketch, ...] | None:
    """Every module, parents first; None for more than a report can hold. A shared parameter counts once."""
    found: list[Sketch] = []
    counted: set[int] = set()
    for module in root.walk():
        if len(found) == MAX_LAYERS:
            return None
        found.append(Sketch(module.node, module.path, kind_of(module), text_of(module), _parameters(module, counted)))
    return tuple(found)


def _parameters(module: Module, counted: set[int]) -> int:
    total = 0
    for name, stored in module.parameters():
        key = id(module.table("_parameters")[name])
        total += 0 if key in counted else stored.numel
        counted.add(key)
    return total


def tree_of_modules(edit: Edit, root: Module, changes: Changes) -> Tree | None:
    """The layers of the tree before and after the edit, each with what became of it."""
    after = sketch(root)
    if edit.before is None or after is None:
        return None
    fates = _Fates(edit, after, changes)
    return Tree(before=tuple(fates.before()), after=tuple(fates.after()))


class _Fates:
    """What became of each layer, and where it went."""

    def __init__(self, edit: Edit, after: Sequence[Sketch], changes: Changes) -> None:
        self._before, self._after, self._changes = edit.before or (), after, changes
        places = {id(one.node): one.path for one in after}
        self._standing = {  # path of the new layer, or of the block that took it in, by id of the replacement
            id(part): places.get(id(edit.standing.get(id(part))), part.path) for part in changes.replacements
        }
        self._fused = {id(node) for node in edit.standing.values()}
        self._left = set(places)
        self._paths = set(places.values())
        self._refused, self._removed = set(changes.refused), set(changes.removed)
        self._into = self._replaced()
        self._above = self._blocks()

    def _replaced(self) -> dict[str, str]:
        """Where each module went that computed a part of a replaced region, or held its numbers."""
        into: dict[str, str] = {}
        for part in self._changes.replacements:
            for node in part.region.nodes:
                holders = (path.rpartition(".")[0] for const in node.consts() for path in const.paths)
                for path in (node.owner, *holders):
                    into.setdefault(path, self._standing[id(part)])
        return into

    def _blocks(self) -> dict[str, str]:
        """The same for all that stands around such modules."""
        found: dict[str, str] = {}
        for path, into in self._into.items():
            for above in _upwards(path):
                found.setdefault(above, into)
        return found

    def before(self) -> Iterator[Layer]:
        graph = self._changes.graph
        work = by_owner(graph.nodes) if graph is not None else None
        for one in self._before:
            fate, into = self._fate(one)
            yield _layer(one, fate, None if work is None else work.get(one.path, 0), into)

    def _fate(self, one: Sketch) -> tuple[Fate, str | None]:
        if any(path in self._removed for path in _upwards(one.path)):
            return "removed", None
        if one.path in self._into:
            return "replaced", self._into[one.path]
        if one.path in self._refused:
            return "refused", None
        if id(one.node) in self._left or one.path in self._paths:
            return "kept", None
        # What a replaced block held beside its operators goes with it.
        around = next((path for path in _upwards(one.path) if path in self._into), None)
        into = self._above.get(one.path) if around is None else self._into[around]
        return ("replaced", into) if into is not None else ("removed", None)

    def after(self) -> Iterator[Layer]:
        known = {id(one.node): one for one in self._before}
        work = self._work_after()
        for one in self._after:
            old = known.get(id(one.node))
            fate: Fate = "kept"
            if id(one.node) in self._fused:
                fate = "fused"
            elif old is None and one.path in self._into:
                fate = "replaced"
            elif one.path in self._refused:
                fate = "refused"
            yield _layer(one, fate, None if work is None else self._own(one, old, work), None)

    def _work_after(self) -> dict[str, int] | None:
        """Of what is kept, by its path before; of new layers by `into `, which no path before begins with."""
        if self._changes.graph is None:
            return None
        work = by_owner(kept(self._changes.graph, self._changes.replacements))
        for part in self._changes.replacements:
            place = f"into {self._standing[id(part)]}"
            work[place] = work.get(place, 0) + part.multiply_adds
        return work

    def _own(self, one: Sketch, old: Sketch | None, work: Mapping[str, int]) -> int:
        was = one.path if old is None else old.path
        return work.get(was, 0) + work.get(f"into {one.path}", 0)


def _upwards(path: str) -> Iterator[str]:
    """The path and all above it."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _layer(one: Sketch, fate: Fate, multiply_adds: int | None, into: str | None) -> Layer:
    return row(one.path, one.kind, one.text, one.parameters, multiply_adds=multiply_adds, fate=fate, into=into)
