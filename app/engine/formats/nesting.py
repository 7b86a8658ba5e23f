"""Bounds how deeply a tree is nested, so that whoever walks it by recursion later does not run out of stack."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from app.engine.formats.limits import Limits, check_limit
from app.engine.ir.node import MISSING, Object
from app.engine.ir.sets import OrderedFrozenSet, OrderedSet

_CONTAINERS: Final = frozenset({list, tuple, dict, OrderedSet, OrderedFrozenSet, Object})


def check_nesting(root: Any, limits: Limits) -> None:
    """TooLarge if a walk that visits every value once, in the order of the pickle, goes deeper than the limit."""
    seen: set[int] = set()
    path: list[Iterator[Any]] = [iter((root,))]
    while path:
        for value in path[-1]:
            if type(value) in _CONTAINERS and id(value) not in seen:
                seen.add(id(value))
                path.append(children(value))
                check_limit("nesting of the pickle", len(path) - 1, limits.max_depth)
                break
        else:
            path.pop()


def children(value: Any) -> Iterator[Any]:
    """The direct parts of a container or Object, in the order in which a pickler writes them."""
    if isinstance(value, Object):
        state = () if value.state is MISSING else (value.setter, value.state)
        kwargs = () if value.kwargs is None else (value.kwargs,)
        pairs = chain.from_iterable(value.pairs.items())
        return chain((value.origin, value.args), kwargs, value.items, pairs, state)
    if isinstance(value, dict):
        return chain.from_iterable(value.items())
    return iter(value)
