"""Holding a request until a job is finished: `?wait=N` and `Prefer: wait=N` (RFC 7240)."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Query, Request
from pydantic import WithJsonSchema

from app.api.access import Caller
from app.api.deps import Service, ServiceDep
from app.errors import InvalidOption, JobNotFound
from app.jobs.job import Job
from app.jobs.table import read_job

_PREFERENCE = re.compile(r"(?:^|[,\s])wait\s*=\s*\"?(\d{1,99})\"?\s*(?:$|[,;])", re.IGNORECASE)
# Whether the caller is still there, and the database, is looked at so often.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the caller would wait, at most; `applied` is the preference to confirm, if it came as one."""

    seconds: float
    applied: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {"Preference-Applied": self.applied} if self.applied else {}


def _wait(
    request: Request,
    service: ServiceDep,
    wait: Annotated[
        str | None,
        WithJsonSchema({"type": "number", "minimum": 0}),
        Query(description="Seconds to wait for the job to finish."),
    ] = None,
) -> Wait:
    """Raises InvalidOption for a `wait` that is no time; a preference that is none is ignored, as RFC 7240 asks."""
    if wait is not None:
        return Wait(min(_seconds(wait), service.max_wait_seconds), None)
    preferred = _PREFERENCE.search(", ".join(request.headers.getlist("prefer")))
    if preferred is None:
        return Wait(0.0, None)
    seconds = min(float(preferred[1]), service.max_wait_seconds)
    return Wait(seconds, f"wait={seconds:g}")


WaitDep = Annotated[Wait, Depends(_wait)]


async def job_or_404(service: Service, caller: Caller, job_id: str) -> Job:
    """A job of the caller's. Raises JobNotFound, also for another's: that there is one is not told."""
    job = await anyio.to_thread.run_sync(read_job, service.engine, job_id[:200])
    if job is None or not caller.may_see(job):
        raise JobNotFound(f"There is no job {job_id[:100]!r}.", remedy="Check the id; old jobs are forgotten in time.")
    return job


async def wait_for(
    service: Service,
    caller: Caller,
    job_id: str,
    wait: Wait,
    request: Request,
    until: Callable[[Job], bool] = lambda job: job.finished,
) -> Job:
    """The job, when it is as wanted, the time is up, the caller has gone or the API stops. Raises JobNotFound."""
    end = anyio.current_time() + wait.seconds
    job = await job_or_404(service, caller, job_id)
    if until(job) or not wait.seconds:
        return job
    with service.watch.on(job_id) as bell:
        while (left := end - anyio.current_time()) > 0:
            bell.note(job)
            await bell.wait(min(left, _LOOK_SECONDS))
            job = await job_or_404(service, caller, job_id)
            if until(job) or service.stopping.is_set() or await request.is_disconnected():
                break
    return job


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidOption(f"wait is {given[:100]!r}.", remedy="Give a number of seconds: ?wait=120")
    return seconds
