"""A module tree followed at the sizes of the caller's inputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from app.engine.forward.family import Shapes
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.units import Unit, Units, uncovered, unit_of
from app.engine.ir.module import Module
from app.engine.ir.program import Port
from app.engine.probes.fit import fitted, shapes_of
from app.engine.probes.invalid import invalid_probe
from app.engine.probes.read import Given
from app.errors import UnsupportedContent

_SEEDED = "Leave probe out: its parts are compared on seeded inputs."

# The model followed at these sizes.
At = Callable[[Shapes], Unit]


def inputs_of(given: Given, units: Units) -> tuple[Tensor, ...]:
    """The caller's arrays as the inputs of a model that is followed as a whole. Raises InvalidProbe."""
    if not units.whole:
        why = f": {units.reason}" if units.reason else ""
        raise invalid_probe(f"can't be used, as the model is not followed as a whole{why}", _SEEDED)
    return fitted(given, _ports(units.units[0].shapes))


def followed(given: Given, units: Units, root: Module, at: At) -> tuple[Units, tuple[Tensor, ...]]:
    """The model at the sizes of the caller's inputs, and these. Raises InvalidProbe."""
    inputs = inputs_of(given, units)
    try:
        unit = at(shapes_of(inputs))
    except (UnknownFlow, UnsupportedContent) as error:
        said = error.reason if isinstance(error, UnknownFlow) else error.detail
        raise invalid_probe(f"has sizes that the model does not take: {said}"[:500]) from None
    return Units(True, (unit,), tuple(uncovered(root, (unit,), ""))), inputs


def described_at(root: Module) -> At:
    """By the descriptions of its classes."""
    return lambda shapes: unit_of(root, shapes, assumed=False)


def _ports(shapes: Shapes) -> list[Port]:
    """Batch and positions are open, channels are not: `input`, or `input.0`, `input.1` where there are several."""
    names = ["input"] if len(shapes) == 1 else [f"input.{number}" for number in range(len(shapes))]
    return [Port(name, torch.float32, _dims(shape)) for name, shape in zip(names, shapes, strict=True)]


def _dims(shape: tuple[int, ...]) -> tuple[int | str | None, ...]:
    return tuple(size if axis == 1 else None for axis, size in enumerate(shape))
