"""The layers of a graph file: its operators in order, as they were and as they were written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.engine.fuse.layers import layer_name
from app.engine.fuse.programs import ProgramFusion
from app.engine.fuse.replacement import Replacement
from app.engine.interpret.pending import geometry_of
from app.engine.ir import graph as ir
from app.engine.ir.graph import Node
from app.engine.layers.listed import Listed
from app.engine.layers.multiply_adds import Totals, by_owner, kept, totals
from app.engine.layers.rows import row
from app.report import MAX_LAYERS, Fate, Layer, Tree


@dataclass(frozen=True, slots=True)
class _Graph:
    """One graph of the file, the main one or one within an operator, whose names begin with `prefix`."""

    prefix: str
    fusion: ProgramFusion

    def name_of(self, part: Replacement) -> str | None:
        """The operator that stands for a region: what the region put out is its output."""
        name = self.fusion.program.names.get(id(part.region.output))
        return None if name is None else self.prefix + name


def tree_of_operators(
    before: Sequence[Listed], after: Sequence[Listed], fusion: ProgramFusion, refused: Sequence[str]
) -> Tree | None:
    """The operators before and after, each with what became of it; None for more than a report can hold."""
    if max(len(before), len(after)) > MAX_LAYERS:
        return None
    graphs = [_Graph("", fusion), *(_Graph(f"{one.body.path}/", one.fusion) for one in fusion.bodies)]
    left = {one.name for one in after}
    into = _into(graphs, left)
    fused = _fused(graphs, left)
    return Tree(
        before=tuple(_before(before, graphs, into, left, set(refused))),
        after=tuple(_after(after, graphs, fused, set(refused))),
    )


def totals_of_program(fusion: ProgramFusion) -> Totals:
    """Of the graph and of those within its operators, each run once."""
    found = Totals(
        totals(fusion.program.graph, ()).before,
        totals(fusion.basis, fusion.replacements).after,
    )
    for one in fusion.bodies:
        inner = totals_of_program(one.fusion)
        found = Totals(found.before + inner.before, found.after + inner.after)
    return found


def _into(graphs: Sequence[_Graph], left: set[str]) -> dict[str, str | None]:
    """Where each replaced operator went."""
    found: dict[str, str | None] = {}
    for graph in graphs:
        for part in graph.fusion.replacements:
            name = graph.name_of(part)
            place = name if name in left else None
            for node in part.region.nodes:
                found.setdefault(graph.prefix + node.owner, place)
    return found


def _fused(graphs: Sequence[_Graph], left: set[str]) -> dict[str, Replacement]:
    """What stands at each new operator."""
    parts = ((graph.name_of(part), part) for graph in graphs for part in graph.fusion.replacements)
    return {name: part for name, part in parts if name is not None and name in left}


def _before(
    listed: Sequence[Listed],
    graphs: Sequence[_Graph],
    into: Mapping[str, str | None],
    left: set[str],
    refused: set[str],
) -> Iterator[Layer]:
    work = _work(graphs, before=True)
    fused = _fused(graphs, left)
    texts = _texts(graphs)
    for one in listed:
        fate: Fate = "kept"
        if one.name in into and (one.name not in left or one.name in fused):  # a part of it may stay
            fate = "replaced"
        elif one.name in refused:
            fate = "refused"
        elif one.name not in left:
            fate = "removed"
        yield _layer(
            one,
            texts.get(one.name, one.kind),
            work.get(one.name),
            fate,
            into.get(one.name) if fate == "replaced" else None,
        )


def _after(
    listed: Sequence[Listed], graphs: Sequence[_Graph], fused: Mapping[str, Replacement], refused: set[str]
) -> Iterator[Layer]:
    work = _work(graphs, before=False)
    texts = _texts(graphs)
    for one in listed:
        part = fused.get(one.name)
        if part is not None:
            yield _layer(one, part.after, part.multiply_adds, "fused", None)
        else:
            fate: Fate = "refused" if one.name in refused else "kept"
            yield _layer(one, texts.get(one.name, one.kind), work.get(one.name), fate, None)


def _work(graphs: Sequence[_Graph], before: bool) -> dict[str, int]:
    """Multiply-adds by operator, of all or of what is kept. Operators that are not read are not there."""
    found: dict[str, int] = {}
    for graph in graphs:
        fusion = graph.fusion
        nodes = fusion.program.graph.nodes if before else kept(fusion.basis, fusion.replacements)
        found.update({graph.prefix + owner: number for owner, number in by_owner(nodes).items()})
    return found


def _texts(graphs: Sequence[_Graph]) -> dict[str, str]:
    """Sizes of convolutions and linear layers."""
    return {graph.prefix + node.owner: text for graph in graphs for node, text in _layers(graph.fusion)}


def _layers(fusion: ProgramFusion) -> Iterator[tuple[Node, str]]:
    for node in fusion.program.graph.nodes:
        if isinstance(node.operation, (ir.Conv, ir.Linear)):
            yield node, layer_name(node.operation.weight.shape, geometry_of(node.operation))


def _layer(one: Listed, text: str, multiply_adds: int | None, fate: Fate, into: str | None) -> Layer:
    return row(one.name, one.kind, text, one.parameters, multiply_adds=multiply_adds, fate=fate, into=into)
