"""What a kind of model file has to bring along to pass through the pipeline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from app.options import FuseOptions
from app.report import Equivalence, Report

J = TypeVar("J")  # what was read
P = TypeVar("P")  # the plan
E = TypeVar("E")  # the evidence
D = TypeVar("D")  # what was dropped


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    source: Path
    target: Path
    filename: str
    options: FuseOptions
    device: str
    verify: bool


@dataclass(frozen=True, slots=True)
class Steps(Generic[J, P, E, D]):
    """The steps, each given what those before it made: what was read, the plan, the evidence, what was dropped.

    `write` may edit what was read. `measure` raises NotEquivalent, and then leaves no target.
    """

    read: Callable[[Path, FuseOptions], J]
    plan: Callable[[J, FuseOptions], P]
    prove: Callable[[J, P, str], E]
    write: Callable[[J, P, FuseOptions, Path], D]
    measure: Callable[[J, P, E, FuseOptions, Path, str], Equivalence]
    report: Callable[[J, P, E | None, D, Equivalence | None, Asked, tuple[str, str], Mapping[str, float]], Report]
