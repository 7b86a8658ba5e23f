"""Every statement on jobs. What the API tells its callers is read from here.

Each change of state is one conditional UPDATE: whoever lost the job (cancelled, taken over) changes nothing. With each
goes an event in the same transaction (`change_jobs`), so that those who follow a job miss nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from app.errors import InternalError, Problem, WorkerCrashed
from app.jobs.database import now
from app.jobs.job import ACTIVE, FINISHED, Input, Job, Output, Phase
from app.jobs.schema import add_event, jobs
from app.jobs.stored import options_of, part_of, phase_of, recognised_of, stored_options
from app.options import FuseOptions
from app.report import Recognised


def insert_job(
    connection: sa.Connection,
    job_id: str,
    options: FuseOptions,
    source: Input,
    owner: str | None = None,
    *,
    probe: Input | None = None,
    idempotency: str | None = None,
) -> int:
    """Add a queued job and return its place in the order of acceptance."""
    row = jobs.insert().values(
        id=job_id,
        state="queued",
        options=stored_options(options),
        input=asdict(source),
        probe=probe and asdict(probe),
        input_bytes=source.bytes + (probe.bytes if probe else 0),
        owner=owner,
        idempotency=idempotency,
        created_at=now(),
        revision=1,
    )
    added = connection.execute(row.returning(*jobs.c)).mappings().one()
    add_event(connection, added)
    return int(added["sequence"])


def change_jobs(connection: sa.Connection, which: sa.ColumnElement[bool], **values: Any) -> list[sa.RowMapping]:
    """The one way to change jobs: those of `which`, each with its event; their rows as they are now."""
    revision = sa.func.coalesce(jobs.c.revision, 0) + 1
    change = jobs.update().where(which).values(**values, revision=revision).returning(*jobs.c)
    changed = list(connection.execute(change).mappings())
    for row in changed:
        add_event(connection, row)
    return changed


def read_job(engine: sa.Engine, job_id: str) -> Job | None:
    if "\0" in job_id:
        return None  # Postgres refuses even to look for it.
    with engine.connect() as connection:
        row = connection.execute(with_places().where(jobs.c.id == job_id)).mappings().one_or_none()
    return None if row is None else job_of(row)


def read_repeated(connection: sa.Connection, idempotency: str) -> Job | None:
    """The job that a request with this key made, as long as it has its files."""
    row = connection.execute(sa.select(jobs).where(jobs.c.idempotency == idempotency)).mappings().one_or_none()
    return None if row is None else job_of(row)


def with_places() -> "sa.Select[Any]":
    """Jobs, those that are queued with their place in the queue."""
    before = jobs.alias()
    place = sa.select(sa.func.count()).where(before.c.state == "queued", before.c.sequence <= jobs.c.sequence)
    return sa.select(jobs, sa.case((jobs.c.state == "queued", place.scalar_subquery())).label("queue_position"))


def claim_job(engine: sa.Engine, job_id: str, worker: str) -> Job | None:
    """Make the job this worker's and count the attempt; None if it was canceled or is finished."""
    with engine.begin() as connection:
        claimed = change_jobs(
            connection,
            sa.and_(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE)),
            state="running",
            phase="validating",
            attempt=jobs.c.attempt + 1,
            worker=worker,
            started_at=sa.func.coalesce(jobs.c.started_at, now()),
        )
    return job_of(claimed[0]) if claimed else None


def is_mine(engine: sa.Engine, job: Job) -> bool:
    """Whether the job still runs as this attempt: not canceled, not taken over."""
    with engine.connect() as connection:
        return connection.execute(sa.select(jobs.c.id).where(_fence(job))).one_or_none() is not None


def set_phase(engine: sa.Engine, job: Job, phase: Phase) -> bool:
    return _change(engine, _fence(job), phase=phase)


def set_recognised(engine: sa.Engine, job: Job, recognised: Recognised) -> bool:
    return _change(engine, _fence(job), recognised=recognised.model_dump(mode="json"))


def publish(engine: sa.Engine, job: Job, output: Output) -> bool:
    """The job succeeded; False if this attempt is no longer the job's, and its files are to be removed."""
    result = {"output": asdict(output), "output_bytes": output.bytes, "problem": None}
    return _change(engine, _fence(job), state="succeeded", phase=None, finished_at=now(), **result)


def fail(engine: sa.Engine, job: Job, problem: Problem) -> bool:
    return _change(engine, _fence(job), state="failed", problem=asdict(problem), finished_at=now())


def give_back(engine: sa.Engine, job: Job, problem: Problem, max_deaths: int) -> bool:
    """An attempt died: queue the job again, or fail it when too many did. True if it is to be tried again."""
    with engine.begin() as connection:
        return _count_death(connection, _fence(job), problem, max_deaths)


def give_back_from(connection: sa.Connection, job_id: str, worker: str, *, died: bool, max_deaths: int) -> None:
    """A whole worker is gone: the same for the job that it held. A worker that left on purpose counts no death."""
    held = sa.and_(jobs.c.id == job_id, jobs.c.worker == worker, jobs.c.state == "running")
    if died:
        lost = WorkerCrashed(
            f"The worker stopped without a word {max_deaths} times while this job ran.",
            remedy="Try again; if it repeats, look at the worker's log and at the machine's memory.",
        )
        _count_death(connection, held, Problem.of(lost), max_deaths)
    else:
        change_jobs(connection, held, state="queued", phase=None)


def cancel(engine: sa.Engine, job_id: str) -> bool:
    """Cancel a job that is not finished; False if it is."""
    active = sa.and_(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
    return _change(engine, active, state="canceled", phase=None, finished_at=now())


def expire(engine: sa.Engine, job_id: str) -> bool:
    """The job's files go: from here on nobody is told that they exist, and the key of its request is free again."""
    finished = sa.and_(jobs.c.id == job_id, jobs.c.state.in_(FINISHED))
    return _change(engine, finished, state="expired", output=None, idempotency=None)


def fail_stranded(engine: sa.Engine, job_id: str) -> bool:
    """The queue is done with a job that never got an answer: a bug, but one that the caller must hear of."""
    problem = Problem.of(InternalError("The job ended without a result.", remedy="Upload the file again."))
    active = sa.and_(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
    return _change(engine, active, state="failed", problem=asdict(problem), finished_at=now())


def active_ids(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(jobs.c.id).where(jobs.c.state.in_(ACTIVE))).scalars())


def _fence(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempt == job.attempt)


def _change(engine: sa.Engine, which: sa.ColumnElement[bool], **values: Any) -> bool:
    with engine.begin() as connection:
        return len(change_jobs(connection, which, **values)) == 1


def _count_death(connection: sa.Connection, held: sa.ColumnElement[bool], problem: Problem, max_deaths: int) -> bool:
    again = sa.and_(held, jobs.c.deaths + 1 < max_deaths)
    if change_jobs(connection, again, state="queued", phase=None, deaths=jobs.c.deaths + 1):
        return True
    ended = {"state": "failed", "problem": asdict(problem), "finished_at": now()}
    change_jobs(connection, held, deaths=jobs.c.deaths + 1, **ended)
    return False


def job_of(row: sa.RowMapping | Mapping[str, Any]) -> Job:
    """A row of the jobs table, with or without the place in the queue, as a value."""
    options, unknown = options_of(row["options"])
    source = part_of(Input, row["input"])
    assert source is not None
    return Job(
        id=row["id"],
        state=row["state"],
        phase=phase_of(row["phase"]),
        options=options,
        unknown_options=unknown,
        input=source,
        output=part_of(Output, row["output"]),
        problem=part_of(Problem, row["problem"]),
        recognised=recognised_of(row["recognised"]),
        owner=row["owner"],
        attempt=row["attempt"],
        worker=row["worker"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        probe=part_of(Input, row["probe"]),
        revision=row["revision"] or 0,
        queue_position=row.get("queue_position"),
    )
