"""The tables of jobs, workers and keys, and every statement on jobs. What the API tells its callers is read from here.

Each change of state is one conditional UPDATE: whoever lost the job (cancelled, taken over) changes nothing.
"""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from app.errors import InternalError, Problem, WorkerCrashed
from app.jobs.database import now
from app.jobs.job import ACTIVE, FINISHED, Input, Job, Output, Phase
from app.options import FuseOptions
from app.report import Recognised

metadata = sa.MetaData()

jobs = sa.Table(
    "fusebox_jobs",
    metadata,
    # The order of acceptance; the queue's own times have a resolution of one second.
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("phase", sa.Text),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("input", sa.JSON, nullable=False),
    sa.Column("output", sa.JSON(none_as_null=True)),
    sa.Column("problem", sa.JSON(none_as_null=True)),
    sa.Column("recognised", sa.JSON(none_as_null=True)),  # tables of older versions get it when they are opened
    # Tables of older versions get these, too: sizes as in input and output, where the database can add them up.
    sa.Column("input_bytes", sa.BigInteger),
    sa.Column("output_bytes", sa.BigInteger),
    sa.Column("owner", sa.Text),  # the key that it came with; nobody's where none was asked for
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),  # the fence: grows with every claim
    sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),  # attempts whose process died
    sa.Column("worker", sa.Text),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("started_at", sa.Float(53)),
    sa.Column("finished_at", sa.Float(53)),
)

workers = sa.Table(
    "fusebox_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("heartbeat_at", sa.Float(53), nullable=False),
    sa.Column("leaving", sa.Boolean, nullable=False),  # it stopped on purpose: its job goes back uncounted
    sa.Column("confinement", sa.Text),  # of its children: full, partial or off
    sa.Column("heir", sa.Text),
    sa.Column("heir_since", sa.Float(53)),
)


keys = sa.Table(
    "fusebox_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("revoked_at", sa.Float(53)),
)


def create_tables(engine: sa.Engine) -> None:
    """Create what is missing. Two processes may do it at the same time."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(715517)"))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection)
        _add_columns(connection)
        _fill_in_sizes(connection)


def _add_columns(connection: sa.Connection) -> None:
    """What the tables of an older version lack: only columns that may be null are ever added."""
    for table in metadata.sorted_tables:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))


def _fill_in_sizes(connection: sa.Connection) -> None:
    """Rows that an older version wrote say their sizes in JSON only."""
    unknown = sa.select(jobs.c.sequence, jobs.c.input, jobs.c.output).where(jobs.c.input_bytes.is_(None))
    for row in connection.execute(unknown).all():
        sizes = {"input_bytes": row.input["bytes"], "output_bytes": row.output and row.output["bytes"]}
        connection.execute(jobs.update().where(jobs.c.sequence == row.sequence).values(**sizes))


def insert_job(
    connection: sa.Connection, job_id: str, options: FuseOptions, source: Input, owner: str | None = None
) -> int:
    """Add a queued job and return its place in the order of acceptance."""
    row = jobs.insert().values(
        id=job_id,
        state="queued",
        options=options.model_dump(mode="json"),
        input=asdict(source),
        input_bytes=source.bytes,
        owner=owner,
        created_at=now(),
    )
    sequence = connection.execute(row.returning(jobs.c.sequence)).scalar_one()
    return int(sequence)


def read_job(engine: sa.Engine, job_id: str) -> Job | None:
    if "\0" in job_id:
        return None  # Postgres refuses even to look for it.
    with engine.connect() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    return None if row is None else _job(row)


def claim_job(engine: sa.Engine, job_id: str, worker: str) -> Job | None:
    """Make the job this worker's and count the attempt; None if it was canceled or is finished."""
    claim = (
        jobs.update()
        .where(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
        .values(
            state="running",
            phase="validating",
            attempt=jobs.c.attempt + 1,
            worker=worker,
            started_at=sa.func.coalesce(jobs.c.started_at, now()),
        )
        .returning(*jobs.c)
    )
    with engine.begin() as connection:
        row = connection.execute(claim).mappings().one_or_none()
    return None if row is None else _job(row)


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
        connection.execute(jobs.update().where(held).values(state="queued", phase=None))


def cancel(engine: sa.Engine, job_id: str) -> bool:
    """Cancel a job that is not finished; False if it is."""
    active = sa.and_(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
    return _change(engine, active, state="canceled", phase=None, finished_at=now())


def expire(engine: sa.Engine, job_id: str) -> bool:
    """The job's files go: from here on nobody is told that they exist."""
    finished = sa.and_(jobs.c.id == job_id, jobs.c.state.in_(FINISHED))
    return _change(engine, finished, state="expired", output=None)


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
        return connection.execute(jobs.update().where(which).values(**values)).rowcount == 1


def _count_death(connection: sa.Connection, held: sa.ColumnElement[bool], problem: Problem, max_deaths: int) -> bool:
    again = jobs.update().where(held, jobs.c.deaths + 1 < max_deaths)
    if connection.execute(again.values(state="queued", phase=None, deaths=jobs.c.deaths + 1)).rowcount:
        return True
    end = jobs.update().where(held)
    connection.execute(end.values(state="failed", deaths=jobs.c.deaths + 1, problem=asdict(problem), finished_at=now()))
    return False


def _job(row: sa.RowMapping) -> Job:
    return Job(
        id=row["id"],
        state=row["state"],
        phase=row["phase"],
        options=FuseOptions.model_validate(row["options"]),
        input=Input(**row["input"]),
        output=None if row["output"] is None else Output(**row["output"]),
        problem=None if row["problem"] is None else Problem(**row["problem"]),
        recognised=None if row["recognised"] is None else Recognised.model_validate(row["recognised"]),
        owner=row["owner"],
        attempt=row["attempt"],
        worker=row["worker"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
