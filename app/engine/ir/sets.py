"""Sets of the inert tree. They keep the order of the file: Python's own differs from one process to the next."""

from collections.abc import Iterable, Iterator
from typing import Any


class OrderedSet(set[Any]):
    """A set that is iterated in the order in which members were added."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[Any, None] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order)

    def extend(self, members: Iterable[Any]) -> None:
        """Add members; those that are there stay where they are."""
        for member in members:
            self._order.setdefault(member)
            self.add(member)


class OrderedFrozenSet(frozenset[Any]):
    """A frozenset that is iterated in the order in which its members were given."""

    __slots__ = ("_order",)
    _order: tuple[Any, ...]

    def __new__(cls, members: Iterable[Any]) -> "OrderedFrozenSet":
        order = dict.fromkeys(members)
        made = super().__new__(cls, order)
        made._order = tuple(order)
        return made

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order)
