"""Names that an operator vouches for: those of the packages that its own users train with."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    """`my.package.Class` allows this name, `my.package.*` whatever lies below."""

    names: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()  # with their dot

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Allowed":
        given = list(patterns)
        return cls(
            frozenset(one for one in given if not one.endswith(".*")),
            tuple(one.removesuffix("*") for one in given if one.endswith(".*")),
        )

    def __contains__(self, path: str) -> bool:
        return path in self.names or path.startswith(self.packages)
