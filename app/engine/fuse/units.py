"""What of a module tree can be followed: the whole model, or else the largest blocks whose description fits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from app.engine.forward.families import family_of
from app.engine.forward.family import Shapes
from app.engine.forward.trace import Trace, UnknownFlow, trace, trace_run
from app.engine.interpret.affine import Cut
from app.engine.ir.module import Module

_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")


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


@dataclass(frozen=True, slots=True)
class Units:
    whole: bool
    units: tuple[Unit, ...]
    unknown: tuple[Cut, ...]  # norms that no unit covers, and why


def find_units(root: Module, shapes: Shapes | None = None) -> Units:
    """The whole model as one unit if all of it is described, else its blocks."""
    family = family_of(root)
    wanted = shapes or (family.example_shapes(root) if family else None)
    reason = f"the class {root.class_path} is not described"
    if family is not None and wanted is not None and not family.leaf:
        try:
            return Units(True, (_unit(root, wanted, assumed=False),), ())
        except UnknownFlow as unknown:
            reason = f"{unknown.path or root.class_path}: {unknown.reason}"
    units = tuple(_below(root))
    return Units(False, units, tuple(_not_proven(root, units, reason)))


def _unit(module: Module, shapes: Shapes, assumed: bool) -> Unit:
    return Unit(
        module, shapes, trace(module, shapes, family_of), lambda again: trace(again, shapes, family_of), assumed
    )


def _below(module: Module) -> Iterator[Unit]:
    """The units among a module's children."""
    if module.class_path == _SEQUENTIAL:
        yield from _runs(module)
        return
    for _, child in module.children():
        yield from _from(child)


def _from(module: Module) -> Iterator[Unit]:
    family = family_of(module)
    if family is not None and not family.leaf:
        shapes = family.example_shapes(module)
        if shapes is not None:
            try:
                yield _unit(module, shapes, assumed=module.class_path == _SEQUENTIAL)
                return
            except UnknownFlow:
                pass
    yield from _below(module)


def _runs(sequence: Module) -> Iterator[Unit]:
    """Stretches of plain layers in a Sequential that has other children too."""
    for plain, group in groupby(sequence.children(), key=lambda item: _is_plain(item[1])):
        children = list(group)
        if plain and len(children) > 1:
            unit = _run(sequence, [name for name, _ in children])
            if unit is not None:
                yield unit
        elif not plain:
            for _, child in children:
                yield from _from(child)


def _is_plain(module: Module) -> bool:
    family = family_of(module)
    return family is not None and family.leaf and not module.hooks and not module.parametrized


def _run(sequence: Module, names: list[str]) -> Unit | None:
    first = next((family_of(child) for name, child in sequence.children() if name == names[0]), None)
    start = sequence.child(names[0])
    shapes = first.example_shapes(start) if first and start else None
    if shapes is None:
        return None

    def again(module: Module) -> Trace:
        return trace_run([child for name, child in module.children() if name in names], shapes, family_of)

    try:
        return Unit(sequence, shapes, again(sequence), again, assumed=True)
    except UnknownFlow:
        return None


def _not_proven(root: Module, units: tuple[Unit, ...], reason: str) -> Iterator[Cut]:
    """Every batch norm that no unit covers."""
    covered = {id(module.node) for unit in units for module, _ in unit.trace.calls}
    seen: set[int] = set()
    for module in root.walk():
        name = module.class_path.rpartition(".")[2]
        if name in _NORMS and id(module.node) not in covered and id(module.node) not in seen:
            seen.add(id(module.node))
            yield Cut(module.path, "data-flow-not-proven", f"what it normalises is not proven by the file ({reason})")


def families_read(units: tuple[Unit, ...]) -> dict[tuple[str, str], int]:
    """How often each (class path, description) was read."""
    counts: dict[tuple[str, str], int] = {}
    seen: set[int] = set()
    for unit in units:
        for module, family in unit.trace.calls:
            if id(module.node) not in seen:
                seen.add(id(module.node))
                key = (module.class_path, family.read_as)
                counts[key] = counts.get(key, 0) + 1
    return counts
