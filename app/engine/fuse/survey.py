"""What a whole module tree says about each of its parts: how often a module serves, and which tensors share memory."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from app.engine.ir.checkpoint import holdings
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor, span


@dataclass(frozen=True, slots=True)
class _Spans:
    """Stretches of one storage in order of their first element, with the tensors that cover them."""

    starts: list[int]
    stops: list[int]
    paths: list[str]
    reach: list[int]  # the largest stop so far

    @classmethod
    def of(cls, stretches: Iterable[tuple[int, int, str]]) -> "_Spans":
        starts, stops, paths = map(list, zip(*sorted(stretches), strict=True))
        return cls(starts, stops, paths, list(accumulate(stops, max)))

    def overlapping(self, start: int, stop: int) -> Iterable[str]:
        at = bisect_left(self.starts, stop) - 1
        while at >= 0 and self.reach[at] > start:
            if self.stops[at] > start:
                yield self.paths[at]
            at -= 1


@dataclass(frozen=True, slots=True)
class Survey:
    """`registered`: places of each module; `referenced`: containers that hold it, tables of children and all others."""

    registered: Mapping[int, int]
    referenced: Mapping[int, int]
    spans: Mapping[int, _Spans]  # by id(storage)

    def sharing(self, tensor: StoredTensor) -> Iterable[str]:
        """Paths of the parameters and buffers that lie on some of the same memory, the tensor's own among them."""
        spans = self.spans.get(id(tensor.storage))
        return () if spans is None or not tensor.numel else spans.overlapping(*_stretch(tensor))


def survey(root: Module) -> Survey:
    """Look at every place of the tree once."""
    registered: Counter[int] = Counter()
    stretches: dict[int, list[tuple[int, int, str]]] = {}
    for module in root.walk():
        registered[id(module.node)] += 1
        for name, tensor in module.tensors():
            if tensor.numel:
                stretches.setdefault(id(tensor.storage), []).append((*_stretch(tensor), module.at(name)))
    places = holdings(root.node, tensors=False)
    referenced = Counter(id(one) for _, held in places for one in held if id(one) in registered)
    return Survey(registered, referenced, {key: _Spans.of(found) for key, found in stretches.items()})


def _stretch(tensor: StoredTensor) -> tuple[int, int]:
    return tensor.offset, tensor.offset + span(tensor.shape, tensor.stride)
