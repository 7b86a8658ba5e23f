"""Which per-channel maps change places with an operator: proved for every input that the file allows."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Final

from app.engine.forward.onnx.call import Call, Dims
from app.engine.forward.onnx.operator import Operator, Tensors
from app.engine.ir.graph import Passage

_MOST_FEATURES: Final = 1 << 16  # of a flattened map: a copy of each is made where a map moves behind it


def keeping(call: Call, changed: Iterable[int] = ()) -> Passage:
    """What the operator does along other dimensions is the same for each place in these."""
    others = set(changed)
    return Passage(tuple((axis, axis) for axis in range(len(call.shape(0))) if axis not in others))


def ordering(passage: Passage) -> Passage:
    """Of what keeps or picks the largest: s * x + t is in the order of x where s is above 0."""
    return replace(passage, signs=False)


def additive(passage: Passage) -> Passage:
    """Of a sum: t is counted as often as there are terms."""
    return replace(passage, shifts=False)


def homogeneous(operator: Operator) -> Operator:
    """An element-wise function with f(s * x) = s * f(x) for s above 0."""

    def tensors(call: Call) -> Tensors:
        return replace(operator.tensors(call), passage=replace(keeping(call), shifts=False, signs=False))

    return replace(operator, tensors=tensors)


def reduced(call: Call, axes: Iterable[int], keep: bool) -> Passage:
    """Of a reduction over some dimensions: the others stay, and move up where those are taken away."""
    gone = sorted(axes)
    left = [axis for axis in range(len(call.shape(0))) if axis not in gone]
    return Passage(tuple((axis, axis if keep else place) for place, axis in enumerate(left)))


def renamed(kept: Mapping[int, int]) -> Passage:
    """Of what gives dimensions other places: by dimension of the input, that of the output."""
    return Passage(tuple(sorted(kept.items())))


def split_up(call: Call, block: int, in_rows: bool) -> Passage | None:
    """Of DepthToSpace: block**2 channels become one; for CRD they are neighbours, for DCR they lie far apart."""
    channels = call.shape(0)[1]
    if block < 1 or channels % block**2:
        return None
    width = channels // block**2
    lands = tuple(channel // block**2 if in_rows else channel % width for channel in range(channels))
    return Passage(((0, 0), (1, 1)), lands=lands, downwards=False)


def put_together(call: Call, block: int) -> Passage | None:
    """Of SpaceToDepth: each channel becomes block**2 channels, far apart."""
    if block < 1:
        return None
    width = call.shape(0)[1]
    return Passage(((0, 0), (1, 1)), comes=tuple(range(width)) * block**2, upwards=False)


def flattened(call: Call) -> Passage | None:
    """Of (n, c, ...) made (n, c * ...): each channel becomes as many features as it has places."""
    static = call.dims(0)[1:]
    sizes = [size for size in static if size is not None]
    if len(sizes) != len(static) or not sizes:
        return None
    places = prod(sizes[1:])
    if not 0 < sizes[0] * places <= _MOST_FEATURES:
        return None
    comes = tuple(feature // places for feature in range(sizes[0] * places))
    return Passage(((0, 0), (1, 1)), comes=comes, upwards=places == 1)


def reshaped(call: Call) -> Passage | None:
    """Of a Reshape that keeps batch and channels for certain, or flattens all that is behind the batch."""
    wanted, static = call.integers(1) or (), call.dims(0)
    if not call.settled(1) or call.attribute("allowzero", 0) or min(len(wanted), len(static)) < 2:
        return None
    if not _keeps_batch(wanted, static):
        return None
    if wanted[1] == 0 or wanted[1] == static[1]:
        return Passage(((0, 0), (1, 1)))
    return flattened(call) if len(wanted) == 2 else None


def _keeps_batch(wanted: tuple[int, ...], static: Dims) -> bool:
    if wanted[0] == 0 or wanted[0] == static[0]:
        return True
    rest = [size for size in static[1:] if size is not None]
    # A size of -1 is the batch if all others are fixed on both sides.
    return wanted[0] == -1 and len(rest) == len(static) - 1 and prod(wanted[1:]) == prod(rest) and min(wanted[1:]) > 0
