"""What a family says of its state dicts, and the model that is built of one: blocks are known by the names in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from app.engine.forward.families import family_of
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.census import Census, count
from app.engine.fuse.units import Unit, blocks, unit_of
from app.engine.ir.module import Module, is_inside
from app.engine.reporting import dtype_name
from app.engine.weights.blueprint import Blueprint, Mismatch, Reduction
from app.engine.weights.container import Tensors, stored
from app.engine.weights.families.reduction import NOTHING, Reduced
from app.engine.weights.tree import names_of, tree_of
from app.engine.weights.wanted import Architecture
from app.errors import InvalidOption, UnsupportedContent

_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"  # torch before 0.4.1 had none
_ARGUMENTS = ("eps",)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a block's builder has to know beside the names: eps, and how many channels the block before puts out."""

    eps: float
    incoming: int | None


@dataclass(frozen=True, slots=True)
class Parts:
    """The layers of one block by their paths: batch norms, layers without a bias, and layers with one."""

    norms: Sequence[str]
    plain: Sequence[str]
    biased: Sequence[str] = ()
    more: Sequence[str] = ()  # tensors of no layer of torch.nn

    def expected(self) -> set[str]:
        norms = {f"{path}.{name}" for path in self.norms for name in _NORM}
        weights = {f"{path}.weight" for path in (*self.plain, *self.biased)}
        return norms | weights | {f"{path}.bias" for path in self.biased} | set(self.more)

    def allowed(self) -> set[str]:
        return self.expected() | {f"{path}.{_COUNTER}" for path in self.norms}


@dataclass(frozen=True, slots=True)
class BlockForm:
    """How one knows a block, what is in it, and how it becomes one that can be read.

    `parts` may ask for layers that are not there: they are reported as missing. `dress(block, setting)` gives all
    modules of a block their classes and geometry, and returns how many channels it puts out.
    """

    is_block: Callable[[Module], bool]
    parts: Callable[[Module], Parts]
    dress: Callable[[Module, Setting], int]


def holding(*names: str) -> Callable[[Module], bool]:
    """Whether a module has a child of one of these names."""
    return lambda module: any(module.child(name) is not None for name in names)


@dataclass(frozen=True, slots=True)
class FamilyForm:
    """The kinds of blocks that a family's models are made of; the first that fits a module serves."""

    name: str  # as in `architecture=repvgg`
    title: str
    blocks: tuple[BlockForm, ...]
    deployed: Callable[[Module], bool] = lambda module: False  # whether a module was fused already
    eps: float = 1e-5  # torch.nn's default, where the family's code does not set another
    classes: Callable[[Module], int | None] = lambda root: None  # where no Linear tells
    assumes: str = ""  # what the names do not tell either, and the report says
    reduce: Callable[[Module], Reduced] = lambda root: NOTHING  # takes out what inference never reads
    known_by: Callable[[Module], bool] = lambda root: False  # whether a tree can only be of this family

    def found(self, root: Module) -> list[tuple[Module, BlockForm]]:
        """The outermost blocks of a tree, in its order."""
        found: list[tuple[Module, BlockForm]] = []
        for module in root.walk():
            if found and is_inside(module.path, found[-1][0].path):
                continue
            form = next((form for form in self.blocks if form.is_block(module)), None)
            if form is not None:
                found.append((module, form))
        return found


def build_family(form: FamilyForm, wanted: Architecture, tensors: Tensors) -> Blueprint | Mismatch:
    """The tree with every block of the family dressed, each a unit of its own."""
    eps = _eps(form, wanted.arguments)
    root, loose = tree_of(tensors)
    census = count(root)
    reduced = form.reduce(root)  # first: what goes needs no fusing
    reduction = _reduction(reduced, census, root, tensors)
    found = form.found(root)
    fused = sum(1 for module in root.walk() if form.deployed(module))
    if not found and not fused:
        return Mismatch(reason=f"none of its {len(tensors):,} tensors is in a block of {form.title}")
    mismatch = _compared(found)
    if mismatch.count:
        return mismatch
    units = blocks(root, tuple(_units(form, found, eps)), f"it is in no block of {form.title}")
    notes = [f"{fused} blocks were in their deploy form already"] if fused else []
    if found:
        notes.append(
            f"eps {eps:g} was taken for all batch norms: it is not in the file (architecture={form.name}:eps=...)"
        )
    notes += [form.assumes] if form.assumes and found else []
    return Blueprint(
        root,
        units,
        loose,
        family=form.title,
        read_as=form.title,
        classes=form.classes(root) or _classes(root),
        notes=(*notes, *reduced.notes),
        reduction=reduction,
    )


def _reduction(reduced: Reduced, census: Census, root: Module, tensors: Tensors) -> Reduction | None:
    """What is left in the order of the file: it may have other names."""
    if not reduced.removed:
        return None
    places = {id(node): place for place, node in enumerate(tensors.values())}
    left = sorted(names_of(root), key=lambda named: places[id(named[1])])
    return Reduction(reduced.removed, census, tuple(name for name, _ in left))


def share_of(form: FamilyForm, root: Module, count: int) -> float:
    """Which part of so many tensors is in blocks of the family, whole ones."""
    whole = [block for block, kind in form.found(root) if not _compared([(block, kind)]).count]
    return sum(1 for block in whole for _ in names_of(block)) / count


def _eps(form: FamilyForm, arguments: Mapping[str, Any]) -> float:
    unknown = next((name for name in arguments if name not in _ARGUMENTS), None)
    if unknown is not None:
        raise InvalidOption(
            f"architecture={form.name} has no argument {unknown!r}.",
            remedy=f"Its arguments are {', '.join(_ARGUMENTS)}; geometry is read from the shapes.",
            option="architecture",
        )
    eps = arguments.get("eps", form.eps)
    if type(eps) not in (int, float) or not isfinite(eps) or not 0 <= eps <= 1:
        raise InvalidOption(
            f"architecture={form.name}: eps is {str(eps)[:100]!r}, and must be a number from 0 to 1.",
            remedy=f"Leave it out for {form.eps:g}.",
            option="architecture",
        )
    return float(eps)


def _compared(found: Sequence[tuple[Module, BlockForm]]) -> Mismatch:
    """What the blocks lack, and what they hold that no block of the family has."""
    missing, unexpected, shapes = [], [], []
    for block, form in found:
        held = {name.removeprefix(f"{block.path}."): stored(node) for name, node in names_of(block)}
        there = held.keys()
        parts = form.parts(block)
        missing += [block.at(name) for name in sorted(parts.expected() - there)]
        unexpected += [block.at(name) for name in sorted(there - parts.allowed())]
        odd = (name for name in parts.expected() & there if not held[name].dtype.is_floating_point)
        shapes += [f"{block.at(name)} ({dtype_name(held[name].dtype)})" for name in sorted(odd)]
    return Mismatch(missing, unexpected, shapes)


def _units(form: FamilyForm, found: Sequence[tuple[Module, BlockForm]], eps: float) -> Iterator[Unit]:
    incoming: int | None = None
    for block, kind in found:
        incoming = kind.dress(block, Setting(eps, incoming))
        try:
            family = family_of(block)
            shapes = family.example_shapes(block) if family is not None else None
            assert shapes is not None
            yield unit_of(block, shapes, assumed=bool(form.assumes))
        except UnknownFlow as unknown:
            raise UnsupportedContent(
                f"{unknown.path or block.path} can't be read as a part of {form.title}: {unknown.reason}",
                remedy="Check that the file belongs to this architecture, or upload the whole model.",
            ) from None


def _classes(root: Module) -> int | None:
    """The rows of the last Linear outside of all blocks: what a classifier puts out."""
    last = [module for module in root.walk() if module.class_path == "torch.nn.modules.linear.Linear"]
    weight = last[-1].tensor("weight") if last else None
    return weight.shape[0] if weight is not None else None
