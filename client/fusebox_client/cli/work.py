"""What the commands do, step by step, with what they find left in the outcome."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from fusebox_client.cli.arguments import Where, split_job
from fusebox_client.cli.outcome import Outcome
from fusebox_client.cli.screen import Screen
from fusebox_client.client import Fusebox, Job
from fusebox_client.options import Options
from fusebox_client.report.gates import Demands, judge
from fusebox_client.report.parts import FuseReport
from fusebox_client.talk.download import check_target
from fusebox_client.views import JobView, State


@dataclass(frozen=True, slots=True)
class Upload:
    """What `submit` sends."""

    model: Path
    probe: Path | None
    idempotency_key: str | None
    options: Mapping[str, Any]


def check_places(model: Path, *places: Path | None) -> None:
    """Before anything is sent: what must not be written over, and what can't be written. Raises OSError."""
    for place in places:
        if place is None:
            continue
        check_place(place)
        if place.exists() and model.exists() and place.samefile(model):
            raise OSError(errno.EINVAL, "is the checkpoint itself; give another path", str(place))


def check_place(place: Path) -> None:
    """Raises OSError for where no file can be written, as far as that can be told beforehand."""
    if str(place) == "-":
        raise OSError(errno.EINVAL, "is no file, and standard output is for the result; give a path", "-")
    check_target(place)
    # What is missing is made: the nearest folder that is there has to take it.
    there = next(one for one in (place, *place.absolute().parents) if one.exists())
    if there != place and not there.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def upload(service: Fusebox, screen: Screen, outcome: Outcome, sent: Upload) -> Job:
    """Send the file; the job's URL is told as soon as there is one."""
    job = service.fuse(
        sent.model,
        probe=sent.probe,
        idempotency_key=sent.idempotency_key,
        progress=screen.transfer,
        **cast(Options, sent.options),
    )
    outcome.job, outcome.url = job.view, job.url
    screen.say(job.url)
    return job


@contextmanager
def found(given: str, where: Where, screen: Screen, outcome: Outcome) -> Iterator[Job]:
    """The job that is meant, by its id or its URL, while the connection to its service is open."""
    job_id, url = split_job(given, where.url)
    with replace(where, url=url).open(screen) as service:
        job = service.job(job_id)
        outcome.job, outcome.url, outcome.what = job.view, job.url, job.view.input.filename
        yield job


def await_result(job: Job, screen: Screen, outcome: Outcome, timeout: float | None) -> None:
    """Watch it to its end. Raises JobError for a job without a result, StillRunning."""
    outcome.job = job.watch(screen.stage, timeout).view
    job.wait()


def read_report(job: Job, outcome: Outcome, demands: Demands) -> FuseReport:
    """The report, judged."""
    outcome.report = job.report_json()
    report = FuseReport.of(outcome.report)
    outcome.gates = judge(report, demands)
    return report


def write_report(outcome: Outcome, to: Path) -> None:
    """The report as the service wrote it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(outcome.report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(job: Job, screen: Screen, outcome: Outcome, to: Path | None, bundle: bool = False) -> None:
    """The fused file in its place."""
    fetch = job.bundle if bundle else job.download
    outcome.file = fetch(to, progress=screen.transfer)
    screen.say(str(outcome.file))


def newest(service: Fusebox, state: str | None, limit: int) -> list[JobView]:
    """So many jobs at most."""
    found = service.jobs(state=cast("State | None", state), page_size=min(limit, 100))
    return [job.view for job in islice(found, limit)]
