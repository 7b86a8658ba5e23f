"""Who knows architectures: our own families, then the packages that are installed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import nlargest

from app.engine.weights.blueprint import Blueprint, Match, Mismatch, Provider
from app.engine.weights.container import Container, Tensors
from app.engine.weights.families import FAMILIES_PROVIDER
from app.engine.weights.naming import prefixes, prefixes_of_some
from app.engine.weights.wanted import Architecture
from app.engine.zoo.provider import ZOO_PROVIDER
from app.errors import ArchitectureMismatch, UnknownArchitecture

_MOST_MATCHES = 5
_SHOWN = 4


def providers() -> tuple[Provider, ...]:
    """All of them, in the order in which they are asked."""
    return (FAMILIES_PROVIDER, ZOO_PROVIDER)


def build(wanted: Architecture, container: Container) -> tuple[str, Blueprint]:
    """The architecture around the tensors of a file, and the prefix of their names. Raises UnknownArchitecture.

    Raises ArchitectureMismatch with the names that differ the least.
    """
    provider = next((one for one in providers() if one.knows(wanted.name)), None)
    if provider is None:
        names = [name for one in providers() for name in one.listed()]
        near = [name for one in providers() for name in one.near(wanted.name)]
        raise UnknownArchitecture(
            f"architecture is {wanted.name!r}, and nobody here knows how it is built",
            remedy=f"Write one of {', '.join(near or names)}, or give a plan= of which layer feeds which norm.",
            known=names,
            near_matches=near,
        )
    closest: Mismatch | None = None
    for prefix in prefixes(container.tensors):
        found = provider.build(wanted, without(prefix, container.tensors))
        if isinstance(found, Blueprint):
            return prefix, found
        if closest is None or found.count < closest.count:
            closest = found
    for prefix, inside in _parts(container.tensors):
        found = provider.build(wanted, inside)
        if isinstance(found, Blueprint):
            return prefix, _with_beside(found, prefix, container.tensors)
    assert closest is not None
    raise ArchitectureMismatch(
        f"the file does not hold the weights of {wanted.text}: {closest.sentence()}",
        remedy="Check name and arguments; leave architecture out to be told which ones fit best.",
        missing=list(closest.missing[:20]),
        unexpected=list(closest.unexpected[:20]),
        shapes=list(closest.shapes[:20]),
    )


def without(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors by their names without the prefix. One without it keeps its name whole."""
    return {name.removeprefix(prefix): node for name, node in tensors.items()} if prefix else tensors


def _parts(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    """Tensors that may be all of a model, and their prefix; no second model of the same names stands beside them."""
    for prefix in prefixes_of_some(tensors):
        inside = without(prefix, {name: node for name, node in tensors.items() if name.startswith(prefix)})
        beside = [name for name in tensors if not name.startswith(prefix)]
        if not any(prefix + name in tensors for name in beside) and not _is_twofold(list(inside), set(beside)):
            yield prefix, inside


def _is_twofold(names: Sequence[str], beside: set[str]) -> bool:
    """Whether all of the names stand there once more, behind something else."""
    before = (name.removesuffix(names[0]) for name in beside if name.endswith(names[0]))
    return any(all(other + name in beside for name in names) for other in before)


def _with_beside(found: Blueprint, prefix: str, tensors: Tensors) -> Blueprint:
    """The model, and what stands beside its names: it stays as it is."""
    beside = {name: node for name, node in tensors.items() if not name.startswith(prefix)}
    shown = ", ".join(list(beside)[:_SHOWN]) + (", ..." if len(beside) > _SHOWN else "")
    note = (
        f"{len(beside):,} of {len(tensors):,} tensors do not begin with {prefix!r} and are no part of {found.read_as}: "
        f"a file of weights keeps them as they are ({shown})"
    )
    return replace(found, loose={**found.loose, **beside}, notes=(*found.notes, note))


def best_matches(container: Container) -> tuple[Match, ...]:
    """The architectures that fit a file best, the best first."""
    found: dict[str, Match] = {}
    for match in _matches(container):
        if match.architecture not in found or match.score > found[match.architecture].score:
            found[match.architecture] = match
    return tuple(nlargest(_MOST_MATCHES, found.values(), key=lambda match: match.score))


def _matches(container: Container) -> Iterator[Match]:
    whole = ((prefix, without(prefix, container.tensors)) for prefix in prefixes(container.tensors))
    for _, tensors in (*whole, *_parts(container.tensors)):
        for provider in providers():
            yield from provider.matches(tensors)
