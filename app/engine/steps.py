"""What a kind of model file has to bring along to pass through the pipeline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from app.engine.latency import Contest, Unmeasured
from app.engine.probes import Given
from app.errors import InvalidOption
from app.options import FuseOptions
from app.report import Equivalence, Recognised, Report

_MEANT_FOR = {"overridable": "ONNX models"}

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

    `read` is given the caller's own inputs, where there are any. `write` may edit what was read. `measure` raises
    NotEquivalent, and then leaves no target. `contest` gives original and written model, ready to be run one against
    the other. `recognised` says what was read, before anything is fused.
    """

    read: Callable[[Path, FuseOptions, Given | None], J]
    recognised: Callable[[J], Recognised]
    plan: Callable[[J, FuseOptions], P]
    prove: Callable[[J, P, str], E]
    write: Callable[[J, P, FuseOptions, Path], D]
    measure: Callable[[J, P, E, FuseOptions, Path, str], Equivalence]
    contest: Callable[[J, P, E, Asked], Contest | Unmeasured]
    report: Callable[[J, P, E | None, D, Equivalence | None, Asked, tuple[str, str], Mapping[str, float]], Report]


def refuse_options(options: FuseOptions, what: str, *names: str) -> None:
    """Raises InvalidOption for an option that says nothing of such a file."""
    for name in names:
        given = getattr(options, name)
        if given != FuseOptions.model_fields[name].default:
            raise InvalidOption(
                f"{name} is {str(given)[:100]!r}, and the file is {what}.",
                remedy=f"Leave it out: it is for {_MEANT_FOR.get(name, 'state dicts and safetensors files')}.",
                option=name,
            )


def refuse_strict_plan(options: FuseOptions) -> None:
    """Raises InvalidOption where all that a plan says would be refused."""
    if options.plan is not None and options.strict:
        raise InvalidOption(
            "strict is true, and all that a plan says is assumed: nothing of it would be fused.",
            remedy="Leave strict or plan out.",
            option="strict",
        )
