"""The values that pass through the pipeline, step by step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.formats import TorchFile
from app.engine.fuse.census import Census
from app.engine.fuse.replace import Fusion
from app.engine.fuse.units import Unit, Units
from app.engine.interpret.affine import Cut
from app.engine.interpret.lockstep import RegionProof
from app.engine.ir.checkpoint import Found
from app.engine.layers import Edit
from app.engine.probes import Given
from app.engine.verify.equivalence import Baseline
from app.report import Removed


@dataclass(frozen=True, slots=True)
class Job:
    """What was read: the file, where its model is, and what it counted before anything changed."""

    file: TorchFile
    found: Found
    census: Census
    model_bytes: int
    given: Given | None = None  # the caller's own inputs


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be replaced in which part of the tree, and what is refused."""

    units: Units
    fusions: tuple[tuple[Unit, Fusion], ...]
    refused: tuple[Cut, ...]
    native: torch.dtype
    inputs: tuple[Tensor, ...] | None = None  # the caller's own, for a model that is followed as a whole


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was proved before writing, unit by unit, and in which dtype the native figures are taken."""

    units: tuple[Baseline, ...]
    regions: dict[int, RegionProof]  # by id(replacement)
    native: torch.dtype


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the written file does without: training state beside the model, and layers that inference never reads.

    `edit` says how the tree came to what was written.
    """

    stripped: tuple[Removed, ...]
    pruned: tuple[Removed, ...]
    edit: Edit
