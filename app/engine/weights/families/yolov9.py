"""YOLOv9 (arXiv 2402.13616): the blocks it shares with Ultralytics; of its published nets, what inference reads.

A state dict does not say which layer reads which. Those of the published configurations are known by which of their
layers have weights, and by how wide each level of the head is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.engine.forward.family import PrunedLayer
from app.engine.forward.structure import below
from app.engine.forward.yolov7.prune import nbytes
from app.engine.forward.yolov9.heads import expectation_of, lists_of
from app.engine.ir.module import Module
from app.engine.weights.families.form import FamilyForm
from app.engine.weights.families.reduction import NOTHING, Reduced, last_layer, layer_list
from app.engine.weights.families.ultralytics import BLOCKS

_AUXILIARY: Final = "an auxiliary branch: it serves training, inference reads the main one"
_FEEDS: Final = "only the auxiliary branch reads it, and inference doesn't read that"


@dataclass(frozen=True, slots=True)
class Layout:
    """A published configuration: its layers by number, in the order of the layer list."""

    title: str
    reduced: str  # the configuration that has the main branch alone
    kept: tuple[int, ...]  # these take the numbers from 0 on, and the head the next one
    bare: frozenset[int]  # layers without weights
    head: int
    auxiliary: tuple[int, ...]  # the layers that the head's branches read, one a level
    main: tuple[int, ...]

    def weighted(self) -> set[int]:
        return set(range(self.head + 1)) - self.bare


LAYOUTS: Final = (
    Layout(
        "YOLOv9-T or S",
        "GELAN-T or S",
        kept=tuple(range(22)),
        bare=frozenset((10, 11, 13, 14, 17, 20, 23, 24, 26, 27)),
        head=29,
        auxiliary=(28, 25, 22),
        main=(15, 18, 21),
    ),
    Layout(
        "YOLOv9-M or C",
        "GELAN-M or C",
        kept=tuple(range(1, 23)),
        bare=frozenset((0, 11, 12, 14, 15, 18, 21, 30, 33, 36)),
        head=38,
        auxiliary=(31, 34, 37),
        main=(16, 19, 22),
    ),
    Layout(
        "YOLOv9-E",
        "GELAN-E",
        kept=(*range(29), *range(36, 49)),
        bare=frozenset((0, 16, 18, 21, 24, 27, 30, 31, 33, 34, 37, 38, 40, 41, 44, 47)),
        head=49,
        auxiliary=(35, 32, 29),
        main=(42, 45, 48),
    ),
)


def branches_of(root: Module) -> int:
    """How many branches the head has: each with lists of its own, and an expectation."""
    head = last_layer(root)
    names = {name for name, _ in head.children()} if head is not None else set()
    for count in (3, 2, 1):
        if names == {name for number in range(count) for name in (*lists_of(number), expectation_of(number))}:
            return count
    return 0


def has_auxiliaries(root: Module) -> bool:
    return branches_of(root) > 1


def reduce(root: Module) -> Reduced:
    """The main branch alone, numbered and named as the authors' conversion does."""
    layers, count = layer_list(root), branches_of(root)
    if layers is None or count < 2:
        return NOTHING
    layout = next((layout for layout in LAYOUTS if _fits(layout, layers, count)), None)
    if layout is None:
        note = (
            "the auxiliary branch stays: which layers feed it is not in the file, and no published net is laid out so"
        )
        return Reduced((), (note,))
    removed = tuple(_taken_out(layout, layers, count))
    _renumber(layout, layers)
    note = f"read as {layout.title} by its layers: what is left has the names of {layout.reduced}, as after conversion"
    return Reduced(removed, (note,))


def _fits(layout: Layout, layers: Module, count: int) -> bool:
    there = {int(name) for name, _ in layers.children()}
    return there == layout.weighted() and all(_widths_fit(layout, layers, branch) for branch in range(count))


def _widths_fit(layout: Layout, layers: Module, branch: int) -> bool:
    """Whether each level of a branch takes as many channels as the layer puts out that it is to read."""
    sources = layout.auxiliary if branch == 0 else layout.main
    head = layers.child(str(layout.head))
    assert head is not None
    levels = [[name for name, _ in part.children()] for name in lists_of(branch) if (part := head.child(name))]
    if levels != [[str(level) for level in range(len(sources))]] * 2:
        return False
    widths = [_put_out_by(layers.child(str(source))) for source in sources]
    taken = [[_taken_by(head, f"{name}.{level}.0") for level in range(len(sources))] for name in lists_of(branch)]
    return None not in widths and taken == [widths, widths]


def _taken_by(head: Module, path: str) -> int | None:
    """The channels that a level's first convolution takes."""
    weight = _weight(head, f"{path}.conv")
    return weight[1] if weight is not None else None


def _put_out_by(layer: Module | None) -> int | None:
    """The channels of an aggregation block or a pyramid: those of its last convolution."""
    found = [_weight(layer, f"{name}.conv") for name in ("cv5", "cv4")] if layer is not None else []
    return next((weight[0] for weight in found if weight is not None), None)


def _weight(module: Module, path: str) -> tuple[int, ...] | None:
    held = below(module, path)
    weight = held.tensor("weight") if held is not None else None
    return weight.shape if weight is not None and len(weight.shape) == 4 else None


def _taken_out(layout: Layout, layers: Module, count: int) -> Iterator[PrunedLayer]:
    """The layers and branches that only training reads; the main branch takes the names of the first."""
    for name, layer in list(layers.children()):
        if int(name) not in (*layout.kept, layout.head):
            yield PrunedLayer(layer.path, _FEEDS, nbytes(layer))
            del layers.table("_modules")[name]
    head = layers.child(str(layout.head))
    assert head is not None
    children = head.table("_modules")
    main = [children[name] for name in (*lists_of(count - 1), expectation_of(count - 1))]
    for branch in range(count - 1):
        for name in (*lists_of(branch), expectation_of(branch)):
            part = head.child(name)
            assert part is not None
            yield PrunedLayer(part.path, _AUXILIARY, nbytes(part))
    children.clear()
    children.update(zip((*lists_of(0), expectation_of(0)), main, strict=True))


def _renumber(layout: Layout, layers: Module) -> None:
    places = {str(before): str(after) for after, before in enumerate((*layout.kept, layout.head))}
    table = layers.table("_modules")
    renumbered = {places[name]: table[name] for name in sorted(table, key=int)}
    table.clear()
    table.update(renumbered)


FORM: Final = FamilyForm("yolov9", "YOLOv9", BLOCKS, eps=1e-3, reduce=reduce, known_by=has_auxiliaries)
