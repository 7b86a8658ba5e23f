"""Constants that several operators of a graph read: may regions go, and their constants with them?

A constant goes once all of its readers do. Regions that are alike, operators and constants (a head that is applied to
every level), are written with one set of weights.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields

import torch

from app.engine.interpret.affine import Region
from app.engine.interpret.pending import numbers_of
from app.engine.ir.graph import Const, Graph, Node
from app.engine.ir.tensors import StoredTensor

_SMALL = 4096
_Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]


class Sharing:
    """Who reads each stored tensor of a graph. Single numbers are not worth counting."""

    def __init__(self, graph: Graph) -> None:
        self._readers: dict[_Key, set[int]] = {}
        for node in graph.nodes:
            for key, _ in _tensors(node):
                self._readers.setdefault(key, set()).add(id(node))

    def shared(self, nodes: Sequence[Node]) -> str | None:
        """The name of a tensor that these nodes and others read."""
        inside = {id(node) for node in nodes}
        for node in nodes:
            for const in _plain(node):
                for source, path in zip(const.sources, const.paths, strict=False):  # a literal has no source
                    if source.numel > 1 and not self._readers[_key(source)] <= inside:
                        return path
        return None

    def growing(self, regions: Sequence[Region], fused: dict[int, int]) -> set[int]:
        """Regions, by id(output), that leave more numbers behind than they take away, as others still read theirs.

        `fused` says by id(output) how many numbers a region is written with.
        """
        found: set[int] = set()
        for group in self._groups(regions):
            inside = {id(node) for region in group for node in region.nodes}
            freed = _literals(group) + sum(
                count
                for key, count in {pair for region in group for node in region.nodes for pair in _tensors(node)}
                if self._readers[key] <= inside
            )
            written = {signature(region): fused[id(region.output)] for region in group}
            if sum(written.values()) > freed:
                found.update(id(region.output) for region in group if self.shared(region.nodes))
        return found

    def _groups(self, regions: Sequence[Region]) -> Iterator[list[Region]]:
        """Regions that hang together by tensors which others read, too."""
        region_of = {id(node): number for number, region in enumerate(regions) for node in region.nodes}
        links: dict[int, set[int]] = {number: set() for number in range(len(regions))}
        for number, region in enumerate(regions):
            for node in region.nodes:
                for key, _ in _tensors(node):
                    links[number].update(region_of[reader] for reader in self._readers[key] if reader in region_of)
        seen: set[int] = set()
        for number, region in enumerate(regions):
            if number in seen or not self.shared(region.nodes):
                continue
            group, waiting = [], [number]
            while waiting:
                other = waiting.pop()
                if other not in seen:
                    seen.add(other)
                    group.append(regions[other])
                    waiting.extend(links[other])
            yield group


def signature(region: Region) -> Hashable:
    """Equal for regions of the same operators over the same constants."""
    return tuple((type(node.operation), *_said(node)) for node in region.nodes)


def _said(node: Node) -> Iterator[Hashable]:
    for part in fields(node.operation):
        value = getattr(node.operation, part.name)
        yield _identity(value) if isinstance(value, Const) else value


def _identity(const: Const) -> Hashable:
    literal: Hashable = None if const.literal is None else id(const.literal)
    if const.literal is not None and const.numel <= _SMALL:
        literal = const.literal.dtype, const.literal.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return tuple(_content(source) for source in const.sources), const.shape, literal


def _content(source: StoredTensor) -> Hashable:
    """Small tensors by their numbers: exporters write the same zeros for each use of a layer without bias."""
    if source.numel > _SMALL:
        return _key(source)
    numbers = source.read().contiguous().reshape(-1).view(torch.uint8)
    return source.dtype, source.shape, numbers.numpy().tobytes()


def _plain(node: Node) -> Iterator[Const]:
    """The node's constants, but for shares of a map that was moved."""
    return (const for const in node.consts() if const.numbers is None)


def _tensors(node: Node) -> Iterator[tuple[_Key, int]]:
    for const in _plain(node):
        yield from ((_key(source), source.numel) for source in const.sources if source.numel > 1)


def _literals(group: Sequence[Region]) -> int:
    """Numbers that no tensor of the file holds, and shares of maps that were moved."""
    consts = [const for region in group for node in region.nodes for const in node.consts()]
    return sum(numbers_of(const) for const in consts if const.literal is not None or const.numbers is not None)


def _key(source: StoredTensor) -> _Key:
    return id(source.storage), source.offset, source.shape, source.stride
