"""Models as sketches of their tensors' names and shapes: the smallest few of many hashes.

Of two sets, the smallest hashes of one that are also among the hashes of the other tell how much of the one the other
has (Broder, "On the resemblance and containment of documents", 1997).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 20
_COUNTER: Final = "num_batches_tracked"  # of every norm, in some files only

Shapes = Mapping[str, tuple[int, ...]]
Hashes = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Sketch:
    """The smallest hashes of a model's tensors, and how many tensors it has."""

    smallest: tuple[int, ...]
    tensors: int


def hashes(shapes: Shapes) -> Hashes:
    """One hash of name and shape for each tensor, in ascending order."""
    texts = (f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items() if not name.endswith(_COUNTER))
    found: Hashes = np.unique(np.fromiter(map(_hash, texts), np.uint32))
    return found


def _hash(text: str) -> int:
    """CRC-32 alone keeps texts that differ in their last characters near one another; the factor spreads them."""
    return crc32(text.encode()) * 0x9E3779B1 & 0xFFFFFFFF


def sketch(shapes: Shapes) -> Sketch:
    found = hashes(shapes)
    return Sketch(tuple(int(one) for one in found[:SIZE]), len(found))
