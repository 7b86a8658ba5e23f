"""Input shapes on which a graph file is tried: what the caller gave, what the file fixes, and sensible sizes else."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from app.engine.ir.program import Port
from app.errors import InvalidOption, TooLarge

Shapes = dict[str, tuple[int, ...]]

_BATCH = 2
_MAX_ELEMENTS = 1 << 28
# Height and width, not square, so that nothing is proved by symmetry; the first that the whole graph takes is used.
# Multiples of 64 fit detectors; the others are what fixed positional embeddings and text recognisers expect.
_MAPS = ((128, 192), (224, 224), (64, 96), (48, 320), (32, 32), (512, 512))
_LENGTH = 16
_USUAL = (224, 224)  # what most models are used at
# Batch, maps and length for a second try: the next of them where a file's ranges leave too little room.
_OTHERS = ((3, (192, 128), 24), (1, (96, 64), 12), (5, (33, 35), 3))


def given_shapes(given: str | None, ports: Sequence[Port]) -> Shapes:
    """What a caller's `probe_shape` says, by input. Raises InvalidOption for one that fits no input."""
    return _parse(given, ports) if given else {}


def candidates(ports: Sequence[Port], given: Mapping[str, tuple[int, ...]]) -> Iterator[Shapes]:
    """Shapes for every input, the most promising first."""
    for maps in _MAPS:
        sizes = _Sizes(_BATCH, maps, _LENGTH)
        yield {port.name: given.get(port.name) or _shape(port, sizes) for port in ports}


def timed(ports: Sequence[Port], given: Mapping[str, tuple[int, ...]], batch: int) -> Iterator[Shapes]:
    """Shapes of that batch size for every input, as far as they are open, the usual ones first."""
    for maps in dict.fromkeys((_USUAL, *_MAPS)):
        sizes = _Sizes(batch, maps, _LENGTH)
        yield {port.name: given.get(port.name) or _shape(port, sizes) for port in ports}


def others(ports: Sequence[Port], given: bool) -> Iterator[Shapes]:
    """Shapes of other sizes, on which what was proved is tried again; none where no size may differ."""
    if given or all(isinstance(dim, int) for port in ports for dim in port.dims or ()):
        return
    for batch, maps, length in _OTHERS:
        sizes = _Sizes(batch, maps, length)
        yield {port.name: _shape(port, sizes) for port in ports}


def check_elements(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises TooLarge where an input would take more memory than any model's does."""
    for name, shape in shapes.items():
        if prod(shape) > _MAX_ELEMENTS:
            raise TooLarge(
                f"the input {name} of shape {'x'.join(map(str, shape))} has {prod(shape):,} numbers, "
                f"the limit is {_MAX_ELEMENTS:,}",
                remedy="Give a smaller probe or probe_shape, or export the model for smaller inputs.",
            )


class _Sizes:
    """Sizes by where they stand; one that has a name is the same wherever the name stands."""

    def __init__(self, batch: int, maps: tuple[int, int], length: int) -> None:
        self.batch, self.maps, self.length = batch, maps, length
        self._named: dict[str, int] = {}

    def size(self, dim: int | str | None, position: int, rank: int) -> int:
        if isinstance(dim, int):
            return dim
        usual = self._usual(position, rank)
        return usual if dim is None else self._named.setdefault(dim, usual)

    def _usual(self, position: int, rank: int) -> int:
        if position == 0:
            return self.batch
        if rank >= 4 and position >= 2:
            return self.maps[position % 2]
        return 3 if rank == 4 else self.length


def _shape(port: Port, sizes: _Sizes) -> tuple[int, ...]:
    dims = port.dims or ()
    return tuple(sizes.size(dim, at, len(dims)) for at, dim in enumerate(dims))


def _parse(given: str, ports: Sequence[Port]) -> Shapes:
    """`1x3x224x224`, or `image=1x3x224x224,mask=1x77`."""
    shapes: Shapes = {}
    for part in given.split(","):
        name, _, text = part.strip().rpartition("=")
        port = next((port for port in ports if port.name == name), None) if name else ports[0] if ports else None
        if port is None:
            known = ", ".join(port.name for port in ports) or "none"
            raise InvalidOption(f"probe_shape names the input {name[:100]!r}.", remedy=f"The inputs are: {known}.")
        if not re.fullmatch(r"\d{1,9}(x\d{1,9})*", text):
            raise InvalidOption(
                f"probe_shape has {text[:100]!r} for the input {port.name}.",
                remedy="Write sizes with an x between them, 1x3x224x224, or name=1x3x224x224,other=1x77.",
            )
        shapes[port.name] = _checked(tuple(int(size) for size in text.split("x")), port)
    return shapes


def _checked(shape: tuple[int, ...], port: Port) -> tuple[int, ...]:
    dims: Sequence[int | str | None] = shape if port.dims is None else port.dims
    fits = len(dims) == len(shape) and all(
        size == dim for size, dim in zip(shape, dims, strict=True) if isinstance(dim, int)
    )
    count = 1
    for size in shape:
        count *= size
    if not fits or not 0 < count <= _MAX_ELEMENTS:
        raise InvalidOption(
            f"probe_shape {'x'.join(map(str, shape))} does not fit the input {port.name}{_said(port)}.",
            remedy=f"Give sizes above 0 that fit it, {_MAX_ELEMENTS:,} numbers at most.",
        )
    return shape


def _said(port: Port) -> str:
    return "" if port.dims is None else f" of shape {'x'.join('?' if dim is None else str(dim) for dim in port.dims)}"
