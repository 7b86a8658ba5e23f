"""A job as the service tells it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from fusebox_client.from_json import read
from fusebox_client.problems import Problem, UnexpectedAnswer, read_problem

State = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
ENDED = ("succeeded", "failed", "canceled", "expired")


@dataclass(frozen=True, slots=True)
class FileView:
    filename: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the file was found to hold, before anything is fused."""

    format: str
    family: str | None = None
    variant: str | None = None
    source: str = ""
    model_class: str = ""
    classes: int | None = None
    dtype: str = ""
    parameters: int = 0
    batch_norms: int = 0
    convolutions: int = 0


@dataclass(frozen=True, slots=True)
class JobView:
    """Where a job stands; `raw` is all that the service said."""

    id: str
    state: State
    phase: str | None
    attempts: int
    input: FileView
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = None  # 1 is the next
    recognised: Recognised | None = None
    probe: FileView | None = None
    output: FileView | None = None
    problem: Problem | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def stage(self) -> str:
        """One or two words for people."""
        if self.state == "running" and self.phase:
            return self.phase
        if self.state == "queued" and self.queue_position:
            return f"queued, number {self.queue_position}"
        return self.state


def read_job(document: object) -> JobView:
    """A job from its JSON. Raises UnexpectedAnswer."""
    if not isinstance(document, dict):
        raise UnexpectedAnswer("The answer is no job: is that a Fusebox service?")
    problem = document.get("problem")
    plain = {name: value for name, value in document.items() if name not in ("problem", "raw")}
    view = read(JobView, {**plain, "raw": document}, "job")
    if not isinstance(problem, dict):
        return view
    return replace(view, problem=read_problem(problem))
