"""A job as a value, and the words for where it stands."""

from dataclasses import dataclass
from typing import Final, Literal

from app.errors import Problem
from app.options import FuseOptions
from app.report import Recognised

State = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
Phase = Literal["validating", "reading", "fusing", "verifying", "writing", "measuring"]

ACTIVE: Final[tuple[State, ...]] = ("queued", "running")
FINISHED: Final[tuple[State, ...]] = ("succeeded", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class Input:
    """The upload: where its bytes are and what they hash to."""

    filename: str
    bytes: int
    sha256: str
    key: str


@dataclass(frozen=True, slots=True)
class Output:
    """The result: published all at once, by one UPDATE."""

    filename: str
    bytes: int
    sha256: str
    model_key: str
    report_key: str


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the jobs table. Times are seconds since 1970 by the database's clock."""

    id: str
    state: State
    phase: Phase | None
    options: FuseOptions
    input: Input
    output: Output | None
    problem: Problem | None
    recognised: Recognised | None
    owner: str | None
    attempt: int
    worker: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    probe: Input | None = None  # the caller's own inputs for the comparison
    revision: int = 0  # grows with every change
    unknown_options: tuple[str, ...] = ()  # that a newer version accepted: this one can't do the job
    queue_position: int | None = None  # while it is queued, where it was asked for: 1 is the next

    @property
    def finished(self) -> bool:
        return self.state not in ACTIVE
