"""What a state dict belongs to: the model as an inert tree that holds the file's own tensors, and who builds such."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.engine.forward.family import PrunedLayer
from app.engine.fuse.census import Census
from app.engine.fuse.units import Units
from app.engine.ir.module import Module
from app.engine.probes.units import At
from app.engine.weights.container import Tensors
from app.engine.weights.wanted import Architecture

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model around the tensors of a file.

    `module` is its tree: every tensor of the file whose name is a path stands in it, by the file's name without the
    prefix, as the file's own node. What is edited there is what the written file has. `loose` tensors stand in no tree
    and are kept. `units` are what is traced, fused and proved, and the norms that are not, with the reasons.
    """

    module: Module
    units: Units
    loose: Tensors
    family: str | None
    read_as: str  # `RepVGG`, `torchvision resnet18`, `caller's plan`
    variant: str | None = None
    classes: int | None = None
    input_size: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    witness: "Testify | None" = None
    export: "Export | None" = None
    described: "Callable[[], Units] | None" = None  # the same module, as descriptions of its classes have it
    at: "At | None" = None  # follows the module at other sizes of its inputs
    inputs: tuple[Tensor, ...] | None = None  # the caller's own
    reduction: "Reduction | None" = None  # where parts of the file are no part of the module


@dataclass(frozen=True, slots=True)
class Reduction:
    """What was taken out since inference never reads it, what the model counted before, and what is left by name.

    `names` are in the order of the file, whatever names the tensors had there.
    """

    removed: Sequence[PrunedLayer]
    census: Census
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Testimony:
    """Errors against the original in float64, all run by the code that the weights belong to.

    `stored` and `native`: of the written tensors in float64, and in the dtype that a loader runs. `native_noise`: of
    the original in that dtype. `reading`: of our own reading of the original in float64.
    """

    stored: float
    native: float
    native_noise: float
    reading: float
    by: str  # whose code ran


# Runs the written tensors, by the model's names, and the original on the same inputs: a Testimony, or a sentence that
# says why the code does not take these tensors. The others are what our reading gave, the native dtype, the device.
Testify = Callable[[Mapping[str, Tensor], Sequence[Tensor], Sequence[Tensor], torch.dtype, str], Testimony | str]


# Writes the model with the file's weights as a program of that kind, `pt2` or `onnx`, widened to float32 or not.
Export = Callable[[Path, str, bool], None]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How the names of a file differ from those of an architecture; shapes as `name: is, should be`."""

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[str] = ()
    reason: str = ""  # where it is no matter of single names

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes) + bool(self.reason)

    def sentence(self) -> str:
        parts = [self.reason] if self.reason else []
        for what, names in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape or dtype", self.shapes),
        ):
            if names:
                shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
                parts.append(f"{len(names):,} tensors are {what}: {shown}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Match:
    """An architecture that a file may belong to: how much of it fits, from 0 to 1, and in which words to ask for it."""

    architecture: str
    score: float
    why: str


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody who knows architectures.

    `build(wanted, tensors)` gets the tensors by their names without a prefix that may have been put before them, and
    is called again with another prefix where it answers with a Mismatch. It raises AppError for arguments that are
    wrong.
    `matches(tensors)` proposes architectures, the best first, and must be quick.
    """

    name: str
    knows: Callable[[str], bool]
    build: Callable[[Architecture, Tensors], Blueprint | Mismatch]
    matches: Callable[[Tensors], Sequence[Match]]
    listed: Callable[[], Sequence[str]] = lambda: ()  # some names, for an error
    near: Callable[[str], Sequence[str]] = lambda name: ()  # names that look like one which nobody knows
