"""What of a module tree can be followed: the whole model, or else the largest blocks whose description fits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from app.engine.forward.computed_weights import has_computed_weights
from app.engine.forward.families import family_of
from app.engine.forward.family import Shapes
from app.engine.forward.structure import below, is_batch_norm
from app.engine.forward.trace import Trace, trace, trace_run
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.adapters import unmerged
from app.engine.fuse.places import InSlot
from app.engine.interpret.affine import Cut, Region
from app.engine.ir import graph as ir
from app.engine.ir.module import Module, is_inside

_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
_INSTANCE_NORMS = ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
_OF_THE_INPUT = ("LayerNorm", "GroupNorm", "RMSNorm")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of the tree that is traced, fused and proved on its own.

    `again(module)` traces the same part of another tree (the written file, read back).
    """

    module: Module
    shapes: Shapes
    trace: Trace
    again: Callable[[Module], Trace]
    assumed: bool  # a Sequential in a class that nobody knows: taken to be called as a whole
    read_as: str = ""  # what the report says of it, where that is not the description of its layers

    def assumes(self, region: Region) -> bool:
        """Whether replacing the region rests on more than the file proves.

        A batch norm acts on dimension 1, a Linear on the last: that these are one is as usual as it is unproved where
        the input is taken to be (batch, features). A published class knows what it is called with.
        """
        kinds = {type(node.operation) for node in region.nodes}
        published = not self.trace.class_paths[0].startswith("torch.nn.")
        usual = not published and len(self.shapes[0]) == 2 and kinds >= {ir.Linear, ir.BatchNorm}
        return self.assumed or usual or self._rests_on_structure(region)

    def _rests_on_structure(self, region: Region) -> bool:
        """Whether a module around the region's operators was read by its structure instead of its class path.

        What stands around a block does not matter where the region fills one of the block's slots.
        """
        outermost = region.place.path if isinstance(region.place, InSlot) else ""
        assumed = [module.path for module, family in self.trace.calls if family.assumed]
        within = [path for path in assumed if is_inside(path, outermost)]
        return any(is_inside(node.owner, path) for path in within for node in region.nodes)


@dataclass(frozen=True, slots=True)
class Units:
    whole: bool
    units: tuple[Unit, ...]
    unknown: tuple[Cut, ...]  # norms that no unit covers, and why
    reason: str = ""  # why the model is not one unit


def find_units(root: Module) -> Units:
    """The whole model as one unit if all of it is described, else its blocks."""
    family = family_of(root)
    if family is None:
        reason = f"the class {root.class_path} is not described"
    else:
        reason = f"no example of the input of {root.class_path} is known"
        shapes = family.example_shapes(root)
        if shapes is not None:
            try:
                unit = unit_of(root, shapes, assumed=False)
                return Units(True, (unit,), tuple(uncovered(root, (unit,), "")))
            except UnknownFlow as unknown:
                reason = f"{unknown.path or root.class_path}: {unknown.reason}"
    return blocks(root, tuple(_Search(set()).below(root, proven=True)), reason)


def blocks(root: Module, units: tuple[Unit, ...], reason: str) -> Units:
    """Units that do not make the whole model; `reason` says why it is not followed as one."""
    return Units(False, units, tuple(uncovered(root, units, reason)), reason)


def run_unit(root: Module, paths: tuple[str, ...], *, assumed: bool, read_as: str) -> Unit:
    """Plain layers at these paths, called one after the other, as a unit. Raises UnknownFlow."""
    layers = [below(root, path) for path in paths]
    assert all(layer is not None for layer in layers)
    shapes = next(iter(_first_shapes(layers[0])), None) if layers[0] is not None else None
    if shapes is None:
        raise UnknownFlow(paths[0], "structure-differs", "it does not state its channels")
    again = _AgainAt(paths, shapes)
    return Unit(root, shapes, again(root), again, assumed, read_as)


@dataclass(frozen=True, slots=True)
class _AgainAt:
    """Traces the layers at these paths, one after the other."""

    paths: tuple[str, ...]
    shapes: Shapes

    def __call__(self, root: Module) -> Trace:
        layers = [below(root, path) for path in self.paths]
        return trace_run([layer for layer in layers if layer is not None], self.shapes, family_of)


def unit_of(module: Module, shapes: Shapes, assumed: bool) -> Unit:
    """The module as a unit; one that takes sequences, (batch, channels, length), may as well take (batch, channels)."""
    try:
        found = trace(module, shapes, family_of)
    except UnknownFlow:
        if [len(shape) for shape in shapes] != [3]:
            raise
        shapes = (shapes[0][:2],)
        found = trace(module, shapes, family_of)
    return Unit(module, shapes, found, lambda again: trace(again, shapes, family_of), assumed)


@dataclass(frozen=True, slots=True)
class _Search:
    """The way down a tree to its largest units. A module in several places is looked at once: it is not fused anyway.

    `proven` is true below the root of a file for as long as only torch.nn.Sequential stands above: what calls them
    is not in doubt.
    """

    seen: set[int]

    def below(self, module: Module, proven: bool) -> Iterator[Unit]:
        """The units among a module's children."""
        if module.class_path == _SEQUENTIAL and module.forward_override is None:
            yield from self.runs(module, proven)
            return
        for _, child in module.children():
            yield from self.at(child, proven=False)

    def at(self, module: Module, proven: bool) -> Iterator[Unit]:
        if id(module.node) in self.seen:
            return
        self.seen.add(id(module.node))
        family = family_of(module)
        known = family is not None and (not family.leaf or has_computed_weights(module))
        shapes = family.example_shapes(module) if family is not None and known else None
        if shapes is not None:
            try:
                yield unit_of(module, shapes, assumed=module.class_path == _SEQUENTIAL and not proven)
                return
            except UnknownFlow:
                pass
        yield from self.below(module, proven)

    def runs(self, sequence: Module, proven: bool) -> Iterator[Unit]:
        """Stretches of plain layers in a Sequential that can't be followed as a whole."""
        for plain, group in groupby(sequence.members(), key=lambda item: _is_plain(item[1])):
            children = [(name, child) for name, child in group if child is not None]
            if plain:
                yield from _stretches(sequence, children, assumed=not proven)
            else:
                for _, child in children:
                    yield from self.at(child, proven)


def _is_plain(module: Module | None) -> bool:
    if module is None:
        return False
    family = family_of(module)
    untouched = not (module.hooks or module.parametrized) or has_computed_weights(module)
    return family is not None and family.leaf and untouched and module.forward_override is None


def _stretches(sequence: Module, children: list[tuple[str, Module]], assumed: bool) -> Iterator[Unit]:
    """Runs of plain layers, from one that states its channels to where the shapes of the next do not fit."""
    start = 0
    while start < len(children):
        shapes = _first_shapes(children[start][1])
        found = [_run(sequence, children[start:], shape, assumed) for shape in shapes]
        unit, stop = max(found, key=lambda run: run[1], default=(None, 1))
        if unit is None and has_computed_weights(children[start][1]):
            yield from _alone(children[start][1], shapes)
        elif unit is not None:
            yield unit
        start += max(stop, 1)


def _alone(layer: Module, shapes: Sequence[Shapes]) -> Iterator[Unit]:
    """A layer whose weight is computed before each call: that can be done once, whoever calls it."""
    for shape in shapes[:1]:
        try:
            yield unit_of(layer, shape, assumed=False)
        except UnknownFlow:
            return


def _first_shapes(layer: Module) -> list[Shapes]:
    """The shapes that a run may start with; none if its first layer does not state its channels."""
    family = family_of(layer)
    shapes = family.example_shapes(layer) if family is not None else None
    if shapes is None:
        return []
    return [shapes, (shapes[0][:2],)] if len(shapes[0]) == 3 else [shapes]


def _run(
    sequence: Module, children: list[tuple[str, Module]], shapes: Shapes, assumed: bool
) -> tuple[Unit | None, int]:
    """The longest run from the first layer on, and how many layers it has."""
    stop = len(children)
    while stop > 1:
        names = {name for name, _ in children[:stop]}
        again = _Again(names, shapes)
        try:
            return Unit(sequence, shapes, again(sequence), again, assumed), stop
        except UnknownFlow as unknown:
            paths = [child.path for _, child in children[:stop]]
            stop = paths.index(unknown.path) if unknown.path in paths else 0
    return None, stop


@dataclass(frozen=True, slots=True)
class _Again:
    """Traces the children of these names, one after the other."""

    names: set[str]
    shapes: Shapes

    def __call__(self, module: Module) -> Trace:
        return trace_run([child for name, child in module.children() if name in self.names], self.shapes, family_of)


def uncovered(root: Module, units: tuple[Unit, ...], reason: str) -> Iterator[Cut]:
    """Every norm and every LoRA layer that is not read, or can't be folded whatever surrounds it.

    `reason` says why the model is not followed as a whole.
    """
    nodes = [node for unit in units for node in unit.trace.graph.nodes]
    read = {node.owner for node in nodes}
    read.update(path.rpartition(".")[0] for node in nodes for const in node.consts() for path in const.paths)
    called = {id(module.node): module.path in read for unit in units for module, _ in unit.trace.calls}
    seen: set[int] = set()
    for module in root.walk():
        name = module.class_path.rpartition(".")[2].removeprefix("Lazy")
        named = name in (*_NORMS, *_INSTANCE_NORMS, *_OF_THE_INPUT)
        if id(module.node) in seen or not (named or is_batch_norm(module)):
            continue
        seen.add(id(module.node))
        if name in _OF_THE_INPUT or (name in _INSTANCE_NORMS and not module.attribute("track_running_stats", False)):
            yield Cut(module.path, "norm-of-the-input", f"{name} keeps no statistics: its scale depends on the input")
        elif called.get(id(module.node)) or module.path in read:
            continue
        elif reason and id(module.node) not in called:
            yield Cut(module.path, "data-flow-not-proven", f"what it normalises is not proven by the file ({reason})")
        else:
            yield Cut(module.path, "not-read", "no output of the model depends on it in inference")
    yield from unmerged(root, called)


def families_read(units: tuple[Unit, ...]) -> dict[tuple[str, str, bool], int]:
    """How often each (class path, description, whether that is assumed) was read."""
    counts: dict[tuple[str, str, bool], int] = {}
    seen: set[int] = set()
    for unit in units:
        for (module, family), class_path in zip(unit.trace.calls, unit.trace.class_paths, strict=True):
            if id(module.node) not in seen:
                seen.add(id(module.node))
                key = (class_path, family.read_as, family.assumed)
                counts[key] = counts.get(key, 0) + 1
    return counts
