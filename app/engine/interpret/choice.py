"""Where to cut: of all regions that could be replaced, the disjoint ones that leave the smallest model.

Not greedily: of three convolutions in a row the first two may shrink together, and the last two shrink more. Values
are visited in order; for each the best of two kinds of plans is kept: its operator stays as it is, on the best plans of
what it reads, or a region ends here, on the best plan of the region's ancestor.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from app.engine.algebra import Refusal
from app.engine.interpret.pending import Cost, Pending
from app.engine.interpret.reach import Barrier, Reach
from app.engine.ir.graph import Graph, Node, Value

Offer = Callable[[Pending], Cost | Refusal | None]


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of nodes that one convolution (or another offer) replaces."""

    pending: Pending
    place: Hashable

    @property
    def input(self) -> Value:
        return self.pending.ancestor

    @property
    def output(self) -> Value:
        return self.pending.value

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.pending.nodes


Saved = tuple[int, int, int]  # operators, parameters, multiply-adds
_NOTHING: Saved = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A region, or none, on plans of what lies before it; `saved` counts every region in it once."""

    saved: Saved = _NOTHING
    region: Region | None = None
    region_saved: Saved = _NOTHING
    below: "tuple[_Plan, ...]" = ()
    size: int = 0  # regions in it


# A plan is counted anew at every joint: no real model has as many regions between two non-linear operators.
_MAX_REGIONS = 500
_EMPTY = _Plan()


class Choice:
    """The best plan of each value, filled by visiting the nodes of a graph in order, each after `reach` has."""

    def __init__(self, reach: Reach, offer: Offer) -> None:
        self.rejected: dict[int, Refusal] = {}  # by id(node): why the first stretch that was tried with it stays
        self._reach = reach
        self._offer = offer
        self._best: dict[int, _Plan] = {}

    def visit(self, node: Node) -> None:
        if id(node) in self._reach.closed:
            return
        best = _standing([self._plan(value) for value in node.inputs])
        if best.size > _MAX_REGIONS:
            self._reach.close(node, Barrier("too-long", f"more than {_MAX_REGIONS:,} regions lie before it"))
            return
        for option in self._reach.options.get(id(node.output), ()):
            saved = self._saving(option) if option.cost.operators > 1 else None
            if saved is None:
                continue
            below = self._plan(option.ancestor)
            total = _sum(saved, below.saved)
            if total > best.saved:
                best = _Plan(total, Region(option, self._reach.place(node)), saved, (below,), below.size + 1)
        self._best[id(node.output)] = best

    def regions(self, graph: Graph) -> Iterator[Region]:
        """The regions of the best plans for all that must be there: outputs, and what other operators read."""
        needed = [value for node in graph.nodes if id(node) in self._reach.closed for value in node.inputs]
        plans = [self._plan(value) for value in (*needed, *graph.output_values())]
        return (plan.region for plan in _with_regions(plans) if plan.region is not None)

    def _plan(self, value: Value) -> _Plan:
        return self._best.get(id(value), _EMPTY)

    def _saving(self, option: Pending) -> Saved | None:
        """What the stretch saves as a region; None, with the reason kept, if it can't or should not be one.

        A bias must not make the model grow, but is not weighed: else a norm would leave the convolution before it,
        which needs a bias then, for the one behind it.
        """
        if not self._is_closed(option):
            return None
        offered, cost = self._offer(option), option.cost
        if offered is None:
            return None
        why = offered if isinstance(offered, Refusal) else _too_dear(cost, offered)
        if why is not None:
            for node in option.nodes:
                self.rejected.setdefault(id(node), why)
        if isinstance(offered, Refusal) or why is not None:
            return None
        weights = cost.parameters - offered.parameters + offered.bias
        return cost.operators - offered.operators, weights, cost.multiply_adds - offered.multiply_adds

    def _is_closed(self, option: Pending) -> bool:
        """Whether nothing outside of the stretch reads what lies inside of it."""
        inside = Counter(id(value) for node in option.nodes for value in node.inputs)
        open_at = (node for node in option.nodes[:-1] if self._reach.count(node.output) != inside[id(node.output)])
        return next(open_at, None) is None


def _standing(below: Sequence[_Plan]) -> _Plan:
    """The operator stays: what its inputs save, each region once."""
    distinct = list({id(plan): plan for plan in below if plan is not _EMPTY}.values())
    if not distinct:
        return _EMPTY
    if len(distinct) == 1:
        return distinct[0]
    saved, size = _NOTHING, 0
    for plan in _with_regions(distinct):
        saved, size = _sum(saved, plan.region_saved), size + 1
    return _Plan(saved, below=tuple(distinct), size=size)


def _with_regions(plans: Sequence[_Plan]) -> Iterator[_Plan]:
    """Every plan with a region of its own in these plans, once."""
    seen: set[int] = set()
    stack = list(plans)
    while stack:
        plan = stack.pop()
        if id(plan) not in seen:
            seen.add(id(plan))
            stack.extend(plan.below)
            if plan.region is not None:
                yield plan


def _sum(one: Saved, other: Saved) -> Saved:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _too_dear(cost: Cost, offered: Cost) -> Refusal | None:
    smaller = offered.parameters <= cost.parameters and offered.multiply_adds <= cost.multiply_adds
    fewer = offered.operators < cost.operators
    lighter = offered.even and offered.operators == cost.operators and offered.parameters < cost.parameters
    if smaller and (fewer or lighter):
        return None
    return Refusal(
        "would-grow", f"what would stand in its place has {_said(offered)}, the operators have {_said(cost)}"
    )


def _said(cost: Cost) -> str:
    return f"{cost.parameters:,} parameters, {cost.multiply_adds:,} multiply-adds in {cost.operators} operators"
