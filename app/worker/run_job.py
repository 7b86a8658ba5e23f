"""One job, from the claim to its published result: everything a worker does, apart from looking at the bytes."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.errors import (
    AppError,
    DeviceUnusable,
    DiskFull,
    ForbiddenCall,
    InternalError,
    InvalidOption,
    JobExpired,
    OutOfMemory,
    Problem,
    StorageUnavailable,
    TimedOut,
    TooLarge,
    WorkerCrashed,
)
from app.jobs import table
from app.jobs.job import Job
from app.sandbox.confine import Mode
from app.sandbox.limits import Limits
from app.sandbox.outcome import (
    Attempted,
    DeviceFailed,
    Died,
    Excessive,
    Forbidden,
    Interrupted,
    Overdue,
    Refused,
    Succeeded,
)
from app.sandbox.supervisor import Forge, ForgeBroken
from app.sandbox.wire import Request
from app.storage import BlobNotFound, Blobs
from app.worker.device import DeviceLost, DeviceWatch
from app.worker.publish import store

_ROOM_BYTES = 512 << 20
_OTHER_THREADS = 64

log = logging.getLogger("fusebox.worker")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with."""

    engine: sa.Engine
    blobs: Blobs
    forge: Forge
    worker: str
    work_dir: Path
    watch: DeviceWatch  # over what jobs are computed on
    timeout_seconds: float
    max_deaths: int
    memory: int  # bytes that one job may use
    threads: int  # that one job computes with
    sandbox: Mode
    allowed_globals: tuple[str, ...] = ()
    device_memory: int = 0  # bytes of the GPU's that one job may use; 0 for no limit

    @property
    def device(self) -> str:
        return self.watch.device.name

    def limits_for(self, input_bytes: int) -> Limits:
        """What a job on a file of this size may use."""
        return Limits(
            memory=self.memory,
            # A program made of half-precision weights, and the same fused: four times the file. The rest is room.
            written=8 * input_bytes + _ROOM_BYTES,
            threads=_OTHER_THREADS + 16 * self.threads,
            device_memory=self.device_memory,
        )


def run_job(bench: Bench, job_id: str) -> None:
    """Work on a job until it has an answer or is no longer this worker's.

    Raises ForgeBroken and what the database raises: the job is then still claimed. Raises DeviceLost: it is queued
    again, or failed.
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
        except (ForgeBroken, DeviceLost, sa.exc.SQLAlchemyError):
            raise
        except Exception as error:
            again = _fail(bench, job, Problem.of(_broken(job, error)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if not again:
            return


def _attempt(bench: Bench, job: Job, directory: Path) -> bool:
    """Run the child and act on what became of it; True if the job is to be tried again."""
    if job.unknown_options:
        raise _newer(job.unknown_options)
    (directory / "work").mkdir(parents=True, mode=0o700)
    try:
        bench.blobs.place(job.input.key, directory / "input")
        if job.probe is not None:
            bench.blobs.place(job.probe.key, directory / "probe")
    except BlobNotFound:
        raise JobExpired("The upload of this job is gone.", remedy="Upload it again.") from None
    request = Request(
        directory=str(directory),
        filename=job.input.filename,
        options=job.options,
        device=bench.device,
        allowed_globals=bench.allowed_globals,
        limits=bench.limits_for(job.input.bytes),
        mode=bench.sandbox,
        sha256=job.input.sha256,
        probe=job.probe is not None,
    )
    outcome = bench.forge.run(
        request,
        on_phase=lambda phase: table.set_phase(bench.engine, job, phase),
        on_recognised=lambda recognised: table.set_recognised(bench.engine, job, recognised),
        unwanted=lambda: not table.is_mine(bench.engine, job),
        seconds=bench.timeout_seconds,
    )
    if isinstance(outcome, DeviceFailed) and bench.watch.device.gpu is None:
        outcome = Died("it speaks of a GPU that it does not have", out_of_memory=False)
    match outcome:
        case Succeeded():
            return _publish(bench, job, directory)
        case Excessive(of=of):
            return _fail(bench, job, Problem.of(_excess(of, request.limits)))
        case Forbidden():
            _log("job.forbidden_call", job)
            return _fail(bench, job, Problem.of(_forbidden()))
        case Refused(problem=problem):
            return _fail(bench, job, problem)
        case Overdue():
            return _fail(bench, job, Problem.of(_overdue(bench.timeout_seconds)))
        case Interrupted():
            _log("job.interrupted", job)
            return False
        case DeviceFailed(fault=fault):
            _log("job.device_failed", job, device=bench.device, fault=fault)
            again = table.give_back(bench.engine, job, Problem.of(_faulty(fault, bench.max_deaths)), bench.max_deaths)
            bench.watch.failed(job.id, fault)
            return again
        case Died():
            problem = Problem.of(_death(outcome, bench.max_deaths))
            _log("job.died", job, how=outcome.how)
            return table.give_back(bench.engine, job, problem, bench.max_deaths)
        case Attempted():
            raise AssertionError("a job is no trial")


def _publish(bench: Bench, job: Job, directory: Path) -> bool:
    """Make what the child left the job's result, unless the job has moved on meanwhile."""
    output = store(bench.blobs, job, directory)
    if table.publish(bench.engine, job, output):
        bench.watch.worked()
        _log("job.succeeded", job)
    else:
        _log("job.superseded", job)
        bench.blobs.delete_prefix(output.model_key.removesuffix("model"))
    return False


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


def _newer(unknown: tuple[str, ...]) -> InvalidOption:
    return InvalidOption(
        f"The worker that took this job does not know {', '.join(unknown)}: a newer version accepted it.",
        remedy="Upload the file again, without these options where the service stays as it is now.",
        unknown=list(unknown),
    )


def _overdue(seconds: float) -> TimedOut:
    return TimedOut(
        f"The job ran for {seconds:g} seconds, which is the limit.",
        remedy="Upload a smaller model, or ask the operator to raise FUSEBOX_JOB_TIMEOUT_SECONDS.",
    )


def _excess(of: str, limits: Limits) -> AppError:
    match of:
        case "memory":
            return OutOfMemory(
                f"The job needed more than {limits.memory:,} bytes of memory, which is the limit.",
                remedy="Upload the model without optimizer and duplicates, or ask the operator to raise "
                "FUSEBOX_JOB_MEMORY_BYTES.",
                limit=limits.memory,
            )
        case "written":
            return TooLarge(
                f"The job wrote more than {limits.written:,} bytes, which is the limit for a file of this size.",
                remedy="The file may be damaged: load it where it was written and save it again.",
                limit=limits.written,
            )
        case "files":
            return TooLarge(
                "The job made more files than any reader of models needs.",
                remedy="The file may be damaged: load it where it was written and save it again.",
            )
        case _:
            return WorkerCrashed(
                f"The process that worked on the file started more than {limits.threads} threads.",
                remedy="The file may be damaged: load it where it was written and save it again.",
            )


def _forbidden() -> AppError:
    return ForbiddenCall(
        "The process that worked on the file was ended by the kernel for a system call that no reader of models makes.",
        remedy="Do not load this file anywhere else either; tell the operator of this service about it.",
    )


def _faulty(fault: str, attempts: int) -> DeviceUnusable:
    return DeviceUnusable(
        f"The GPU failed ({fault}) while it computed this model, {attempts} times.",
        remedy="Try again; if it repeats with this file alone, please report it, and else ask the operator to look at "
        "/readyz and at the worker's log.",
        reason=fault,
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
