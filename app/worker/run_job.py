"""One job, from the claim to its published result: everything a worker does, apart from looking at the bytes."""

import json
import logging
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.errors import (
    AppError,
    DiskFull,
    InternalError,
    JobExpired,
    OutOfMemory,
    Problem,
    StorageUnavailable,
    TimedOut,
    WorkerCrashed,
)
from app.jobs import table
from app.jobs.job import Job, Output
from app.report import Report
from app.sandbox.supervisor import Died, Forge, ForgeBroken, Interrupted, Overdue, Refused, Succeeded
from app.sandbox.wire import Request
from app.storage import BlobNotFound, Blobs, output_keys

_MAX_REPORT_BYTES = 256 << 20

log = logging.getLogger("fusebox.worker")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with."""

    engine: sa.Engine
    blobs: Blobs
    forge: Forge
    worker: str
    work_dir: Path
    device: str
    timeout_seconds: float
    max_deaths: int
    allowed_globals: tuple[str, ...] = ()


def run_job(bench: Bench, job_id: str) -> None:
    """Work on a job until it has an answer or is no longer this worker's.

    Raises ForgeBroken and what the database raises: the job is then still claimed.
    """
    while (job := table.claim_job(bench.engine, job_id, bench.worker)) is not None:
        _log("job.claimed", job, attempt=job.attempt)
        directory = bench.work_dir / bench.worker / f"{job.id}-{job.attempt}"
        try:
            again = _attempt(bench, job, directory)
        except StorageUnavailable as error:
            # An outage is not the job's fault: it has as many tries as after a death.
            log.warning("job.storage_unavailable job_id=%s", job.id, exc_info=error)
            again = table.give_back(bench.engine, job, Problem.of(error), bench.max_deaths)
        except AppError as error:
            again = _fail(bench, job, Problem.of(error))
        except (ForgeBroken, sa.exc.SQLAlchemyError):
            raise
        except Exception as error:
            again = _fail(bench, job, Problem.of(_broken(job, error)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if not again:
            return


def _attempt(bench: Bench, job: Job, directory: Path) -> bool:
    """Run the child and act on what became of it; True if the job is to be tried again."""
    directory.mkdir(parents=True, mode=0o700)
    try:
        bench.blobs.place(job.input.key, directory / "input")
    except BlobNotFound:
        raise JobExpired("The upload of this job is gone.", remedy="Upload it again.") from None
    request = Request(
        directory=str(directory),
        filename=job.input.filename,
        options=job.options,
        device=bench.device,
        allowed_globals=bench.allowed_globals,
    )
    outcome = bench.forge.run(
        request,
        on_phase=lambda phase: table.set_phase(bench.engine, job, phase),
        on_recognised=lambda recognised: table.set_recognised(bench.engine, job, recognised),
        unwanted=lambda: not table.is_mine(bench.engine, job),
        seconds=bench.timeout_seconds,
    )
    match outcome:
        case Succeeded():
            return _publish(bench, job, directory)
        case Refused(problem=problem):
            return _fail(bench, job, problem)
        case Overdue():
            return _fail(bench, job, Problem.of(_overdue(bench.timeout_seconds)))
        case Interrupted():
            _log("job.interrupted", job)
            return False
        case Died():
            problem = Problem.of(_death(outcome, bench.max_deaths))
            _log("job.died", job, how=outcome.how)
            return table.give_back(bench.engine, job, problem, bench.max_deaths)


def _publish(bench: Bench, job: Job, directory: Path) -> bool:
    """Store what the child wrote, then make it the job's result, unless the job has moved on meanwhile."""
    model, written = directory / "output", directory / "report.json"
    size = _size_of_plain_file(model)
    report = _read_report(written)
    if report.output.bytes != size:
        raise AssertionError(f"the report speaks of {report.output.bytes} bytes, the file has {size}")
    model_key, report_key = output_keys(job.id, job.attempt)
    bench.blobs.take(model, model_key)
    bench.blobs.take(written, report_key)
    output = Output(
        filename=report.output.filename,
        bytes=size,
        sha256=report.output.sha256,
        model_key=model_key,
        report_key=report_key,
    )
    if table.publish(bench.engine, job, output):
        _log("job.succeeded", job)
    else:
        _log("job.superseded", job)
        bench.blobs.delete_prefix(model_key.removesuffix("model"))
    return False


def _read_report(path: Path) -> Report:
    size = _size_of_plain_file(path)
    if size > _MAX_REPORT_BYTES:
        raise AssertionError(f"a report of {size:,} bytes")
    return Report.model_validate_json(path.read_bytes())


def _size_of_plain_file(path: Path) -> int:
    """The child is not trusted: a link to another file must not become somebody's download."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise AssertionError(f"{path.name} is not a plain file of its own")
    return found.st_size


def _fail(bench: Bench, job: Job, problem: Problem) -> bool:
    if table.fail(bench.engine, job, problem):
        _log("job.failed", job, code=problem.code)
    return False


def _broken(job: Job, error: Exception) -> AppError:
    """A full disk is told; anything else is our bug, and the log says more."""
    full = DiskFull.of(error) if isinstance(error, OSError) else None
    if full is not None:
        return full
    log.exception("job.broken job_id=%s", job.id)
    return InternalError("The worker failed at this job.", remedy="Try again; its log says more.")


def _overdue(seconds: float) -> TimedOut:
    return TimedOut(
        f"The job ran for {seconds:g} seconds, which is the limit.",
        remedy="Upload a smaller model, or ask the operator to raise FUSEBOX_JOB_TIMEOUT_SECONDS.",
    )


def _death(died: Died, attempts: int) -> AppError:
    if died.out_of_memory:
        return OutOfMemory(
            f"The process that worked on the file was killed for want of memory, {attempts} times.",
            remedy="Upload the model without optimizer and duplicates, or use a machine with more memory.",
        )
    return WorkerCrashed(
        f"The process that worked on the file died ({died.how}), {attempts} times.",
        remedy="The file may be damaged: load it where it was written and save it again.",
    )


def _log(event: str, job: Job, **facts: object) -> None:
    log.info("%s", json.dumps({"event": event, "job_id": job.id, **facts}))
