"""What the API says about a job: the row as callers see it, with links and the next command."""

import re
import shlex
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.job import Input, Job, Output, Phase, State
from app.jobs.liveness import DeviceHealth, DeviceState
from app.jobs.refused import Refusal
from app.options import FuseOptions
from app.report import Recognised


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProblemDocument(_View):
    """An RFC 9457 problem. Further members depend on the code."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(description="URI of the kind of problem; its last part is the code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the kind of problem, to be used in programs.")
    remedy: str = Field(description="What to do about it; may be empty.")
    instance: str = Field(description="The request, or the job, that it is about.")


class FileView(_View):
    filename: str
    bytes: int
    sha256: str


class Links(_View):
    self: str
    events: str
    done: str
    model: str
    report: str
    bundle: str
    comparison: str = Field(description="A program that loads both files and compares their outputs.")
    page: str


class JobView(_View):
    """A job as its caller sees it."""

    id: str
    state: State
    phase: Phase | None = Field(description="What is being done while the job runs, or where it failed.")
    revision: int = Field(description="Grows with every change of the job: the number of its latest event.")
    queue_position: int | None = Field(description="Place in the queue while the job waits there; 1 is the next.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int = Field(description="How often work on the job was begun.")
    options: FuseOptions
    unknown_options: list[str] = Field(
        description="Options of this job that this version does not know: a newer one accepted it."
    )
    input: FileView
    probe: FileView | None = Field(description="The caller's own inputs for the comparison.")
    recognised: Recognised | None = Field(description="What the file was found to hold, before anything is fused.")
    output: FileView | None
    problem: ProblemDocument | None = Field(description="Why the job failed.")
    links: Links
    next: str = Field(description="The command to run next.")


class JobPage(_View):
    """Some of a caller's jobs, newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="The cursor of the page of older jobs; null on the last page.")


Sandbox = Literal["full", "partial", "off", "unknown"]


class DeviceView(_View):
    """What one worker computes on."""

    device: str = Field(description="`cpu` or `cuda:N`; of a worker that waits for a GPU, what it was asked for.")
    state: DeviceState = Field(
        description="`failing`: several jobs in a row ended with a fault of the GPU, which else works. `failed`: it "
        "does not work, and its worker takes no jobs until it does."
    )
    error: str | None = Field(description="Code of the last error, while the state is not `ok`.")
    since: datetime

    @staticmethod
    def of(health: DeviceHealth) -> "DeviceView":
        since = datetime.fromtimestamp(health.since, UTC)
        return DeviceView(device=health.device, state=health.state, error=health.error, since=since)


class RefusalView(_View):
    """Why a worker does not start."""

    device: str = Field(description="What it was to compute on, as FUSEBOX_DEVICE says it.")
    code: str = Field(description="`device-unusable` or `not-confined`.")
    reason: str = Field(description="Stable name of the reason: `no-gpu`, `no-landlock` and others.")
    detail: str
    remedy: str
    at: datetime

    @staticmethod
    def of(one: Refusal) -> "RefusalView":
        told = {"code": one.code, "reason": one.reason, "detail": one.detail, "remedy": one.remedy}
        return RefusalView(device=one.device, at=_time(one.refused_at), **told)


class Health(_View):
    ready: bool
    checks: dict[str, str]
    sandbox: Sandbox = Field(
        description="How the processes that work on uploads are confined: `full`, or what the operator accepted "
        "instead with FUSEBOX_SANDBOX (`partial`, `off`); the weakest of all workers'. `unknown` without a worker."
    )
    devices: list[DeviceView] = Field(description="How the device of each live worker fares.")
    refused: list[RefusalView] = Field(
        description="Why workers do not start: what those said in the last 15 minutes that were tried since one began "
        "to work, the latest first."
    )


def problem_document(
    *, code: str, status: int, title: str, detail: str, remedy: str, instance: str, facts: dict[str, Any]
) -> ProblemDocument:
    own = {"type", "title", "status", "detail", "code", "remedy", "instance"}
    return ProblemDocument(
        type=f"urn:fusebox:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        remedy=remedy,
        instance=instance,
        **{name: value for name, value in facts.items() if name not in own},
    )


def job_path(job_id: str, part: str = "") -> str:
    return f"/v1/jobs/{job_id}{part}"


def view_job(job: Job, base_url: str) -> JobView:
    path = job_path(job.id)
    return JobView(
        id=job.id,
        state=job.state,
        phase=job.phase,
        revision=job.revision,
        queue_position=job.queue_position,
        created_at=_time(job.created_at),
        started_at=None if job.started_at is None else _time(job.started_at),
        finished_at=None if job.finished_at is None else _time(job.finished_at),
        attempts=job.attempt,
        options=job.options,
        unknown_options=list(job.unknown_options),
        input=_file(job.input),
        probe=job.probe and _file(job.probe),
        recognised=job.recognised,
        output=job.output and _file(job.output),
        problem=job.problem
        and problem_document(
            code=job.problem.code,
            status=job.problem.status,
            title=job.problem.title,
            detail=job.problem.detail,
            remedy=job.problem.remedy,
            instance=path,
            facts=job.problem.facts,
        ),
        links=Links(
            self=path,
            comparison=job_path(job.id, "/comparison.py"),
            page=f"/jobs/{job.id}",
            **{part: job_path(job.id, f"/{part}") for part in ("events", "done", "model", "report", "bundle")},
        ),
        next=_next_command(job, base_url),
    )


def _file(file: Input | Output) -> FileView:
    return FileView(filename=file.filename, bytes=file.bytes, sha256=file.sha256)


def _next_command(job: Job, base_url: str) -> str:
    """Quoted for a shell: `?` is a wildcard there. A key is never repeated: it is said where it goes."""
    curl = "curl --fail-with-body -OJ" + (' -H "Authorization: Bearer $FUSEBOX_KEY"' if job.owner else "")
    match job.state:
        case "queued" | "running":
            return f"{curl} '{base_url}{job_path(job.id, '/model')}?wait=120'"
        case "succeeded":
            return f"{curl} '{base_url}{job_path(job.id, '/model')}'"
        case _:
            return f"{curl} -F {_form_file(job.input.filename)} '{base_url}/fuse?wait=120'"


def _form_file(filename: str) -> str:
    """The argument of curl's -F, in which ; and , would end a name without quotes of its own, quoted for the shell."""
    if re.search(r'[;,"\\]', filename):
        filename = '"' + re.sub(r'(["\\])', r"\\\1", filename) + '"'
    return shlex.quote(f"model=@{filename}")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
