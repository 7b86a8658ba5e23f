"""The index of all models of torchvision and timm: sketches that are read without either package.

`bench/zoo_index.py` makes the file. Layout: `FBZI`, one byte version, the number of models and the length of the names
as two uint32; the names, UTF-8, one a line; for each model two uint16 (number of tensors, hashes in its sketch); then
all hashes, uint32. Everything is little-endian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.engine.zoo.request import PACKAGES
from app.engine.zoo.sketch import Hashes, Shapes, Sketch, hashes

_MAGIC: Final = b"FBZI\x01"
_FILE: Final = "architectures.bin"
_SHOWN: Final = 5
_LEAST: Final = 0.3  # of a sketch: below it two models have their layers' names in common by chance


@dataclass(frozen=True, slots=True)
class Index:
    """Names (`timm/repvgg_a0`), numbers of tensors, and which hashes of `hashes` are whose."""

    names: tuple[str, ...]
    tensors: NDArray[np.uint16]
    owners: NDArray[np.uint32]
    hashes: Hashes


@dataclass(frozen=True, slots=True)
class Similar:
    """A model of the index, and how like it a file's tensors are, from 0 to 1."""

    name: str
    score: float


def similar(shapes: Shapes) -> list[Similar]:
    """The models whose tensors are most like these by name and shape, the best first."""
    index, wanted = read_index(), hashes(shapes)
    if not wanted.size:
        return []
    found = np.bincount(index.owners, np.isin(index.hashes, wanted), len(index.names))
    held = np.bincount(index.owners, minlength=len(index.names)).clip(1)
    sizes = index.tensors.astype(np.float64).clip(1)
    scores = found / held * (np.minimum(sizes, wanted.size) / np.maximum(sizes, wanted.size))
    order = sorted(np.flatnonzero(scores >= _LEAST), key=lambda at: (-scores[at], _plainness(index.names[at])))
    return [Similar(index.names[at], float(scores[at])) for at in order[:_SHOWN]]


def _plainness(name: str) -> tuple[int, bool]:
    """Of models with the same tensors the one with the shortest name is the one that others are variants of."""
    package, _, bare = name.partition("/")
    return len(bare), package != PACKAGES[0]


@cache
def read_index() -> Index:
    """The index that comes with the package."""
    return from_bytes(files("app.engine.zoo").joinpath(_FILE).read_bytes())


def from_bytes(content: bytes) -> Index:
    assert content.startswith(_MAGIC), "the index was made by another version"
    models, length = np.frombuffer(content, "<u4", 2, len(_MAGIC))
    at = len(_MAGIC) + 8
    names = tuple(content[at : at + length].decode().split("\n"))
    counts = np.frombuffer(content, "<u2", 2 * models, at + length).reshape(-1, 2)
    found = np.frombuffer(content, "<u4", -1, at + length + 4 * models)
    owners = np.repeat(np.arange(models, dtype=np.uint32), counts[:, 1])
    return Index(names, counts[:, 0], owners, found)


def to_bytes(sketches: Mapping[str, Sketch]) -> bytes:
    """The file of an index."""
    names = "\n".join(sketches).encode()
    counts: Sequence[tuple[int, int]] = [(one.tensors, len(one.smallest)) for one in sketches.values()]
    held = [number for one in sketches.values() for number in one.smallest]
    head = np.array([len(sketches), len(names)], "<u4").tobytes()
    return _MAGIC + head + names + np.array(counts, "<u2").tobytes() + np.array(held, "<u4").tobytes()
