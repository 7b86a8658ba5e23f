"""The affine reading: every value as "the convolution from my last non-linear ancestor", and where that is cut.

Linear operations compose in the algebra (`reach`); of all ways to cut the stretches between non-linear operations the
one that leaves the fewest operators, then the fewest parameters, is taken (`choice`). A stretch of two or more
operators between two cuts is a region, if what stands for it costs no more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.engine.algebra import Refusal
from app.engine.interpret.choice import Choice, Region
from app.engine.interpret.pending import Cost, Pending
from app.engine.interpret.reach import Barrier, Place, Reach
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Node

__all__ = ["Barrier", "Cut", "Offer", "Place", "Reading", "Region", "read"]

_LINEAR = (ir.Conv, ir.Linear, ir.BatchNorm, ir.Scale, ir.Shift)
_NAMES: Mapping[type, str] = {
    ir.Add: "a sum",
    ir.Concat: "a concatenation",
    ir.AvgPool: "an average pool",
    ir.Conv: "a convolution",
    ir.Linear: "a Linear",
    ir.BatchNorm: "a batch norm",
    ir.Pad: "padding",
    ir.Take: "a choice of channels",
    ir.Scale: "a factor",
    ir.Shift: "an offset",
}

# The price of what would be written for a stretch, why it can't be written, or None if nothing stands for its kind.
Offer = Callable[[Pending], Cost | Refusal | None]


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a stretch ends here."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Regions in graph order, and a reason for each foldable node that is in none, by `id(node)`."""

    regions: tuple[Region, ...]
    cuts: Mapping[int, Cut]


def one_convolution(pending: Pending) -> Cost | None:
    """The offer of one convolution with bias."""
    return None if pending.core is None else pending.fused_cost


def read(graph: Graph, places: Mapping[int, Place], offer: Offer = one_convolution) -> Reading:
    """Find the regions.

    `places` says by `id(node)` where what a node does may be written; no entry is a barrier. `offer` prices what would
    stand in a region's place.
    """
    reach = Reach(graph, places)
    choice = Choice(reach, offer)
    for node in graph.nodes:
        reach.visit(node)
        choice.visit(node)
    position = {id(node): number for number, node in enumerate(graph.nodes)}
    regions = tuple(sorted(choice.regions(graph), key=lambda region: position[id(region.nodes[-1])]))
    return Reading(regions, _unfolded(graph, regions, reach, choice))


def _unfolded(graph: Graph, regions: tuple[Region, ...], reach: Reach, choice: Choice) -> dict[int, Cut]:
    """A reason for each norm, scale and shift that is in no region."""
    inside = {id(node) for region in regions for node in region.nodes}
    cuts = {}
    for node in graph.nodes:
        if id(node) not in inside and isinstance(node.operation, (ir.BatchNorm, ir.Scale, ir.Shift)):
            why = _reason(node, reach, choice)
            cuts[id(node)] = Cut(node.owner, why.code, why.reason)
    return cuts


def _reason(node: Node, reach: Reach, choice: Choice) -> Refusal:
    """The nearest cause: the node itself, the shortest stretch with it, its only reader, what it reads."""
    readers = reach.readers(node.output)
    only = readers[0] if len(readers) == 1 else None
    causes = (
        _closed(node, reach),
        choice.rejected.get(id(node)),
        reach.refused.get(id(node)),
        _closed(only, reach, beside=True),
        _closed(_with_numbers(reach.maker(node.inputs[0])), reach, beside=True),
    )
    return next((cause for cause in causes if cause is not None), None) or _standing(node, reach)


def _closed(node: Node | None, reach: Reach, beside: bool = False) -> Refusal | None:
    """Why a node is in no region; of a neighbour only what a user would not expect: most operators are not linear."""
    closed = reach.closed.get(id(node))
    if closed is None or (beside and closed.code == "not-linear"):
        return None
    return Refusal(closed.code, closed.reason)


def _with_numbers(maker: Node | None) -> Node | None:
    """What might take in a norm behind it: a sum or a concatenation has no numbers of its own."""
    may = maker is not None and (isinstance(maker.operation, ir.Apply) or any(maker.consts()))
    return maker if may else None


def _standing(node: Node, reach: Reach) -> Refusal:
    """What stands on both sides: a convolution that others read, too, or that they have to themselves, or none."""
    above, readers = reach.maker(node.inputs[0]), reach.readers(node.output)
    for value, beside, name in (
        (node.output, readers, "output"),
        (node.inputs[0], [above] if above is not None else [], "input"),
    ):
        count = reach.count(value)
        if count > 1 and any(isinstance(one.operation, _LINEAR) for one in beside):
            return Refusal("several-readers", f"its {name} is read {count} times")
    follows = " and ".join(dict.fromkeys(_named(reader) for reader in readers)) or "the output"
    before = "the input" if above is None else _named(above)
    reason = f"it stands between {before} and {follows}: no convolution beside it can take it in"
    return Refusal("no-convolution-beside", reason)


def _named(node: Node) -> str:
    operation = node.operation
    return operation.name if isinstance(operation, ir.Apply) else _NAMES.get(type(operation), type(operation).__name__)
