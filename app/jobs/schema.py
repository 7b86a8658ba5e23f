"""The tables of jobs, their events, workers and keys, and how tables of an older version are brought up to date."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

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
    sa.Column("probe", sa.JSON(none_as_null=True)),  # the caller's own inputs, a second upload
    sa.Column("revision", sa.Integer),  # the number of the job's latest event
    sa.Column("looked_at", sa.Float(53)),  # when a worker began to look what is in the file, or that it need not
    sa.Column("idempotency", sa.Text),  # digest of owner and Idempotency-Key, as long as the job has files
    # Newest first, of one owner: the pages of the list.
    sa.Index("fusebox_jobs_of_owner", "owner", "created_at", "id"),
    sa.Index("fusebox_jobs_once", "idempotency", unique=True),
)

# What each change made of a job: written with it, read by those who follow the job.
events = sa.Table(
    "fusebox_events",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # from 1, without gaps
    sa.Column("change", sa.JSON, nullable=False),  # the columns of TOLD
)
TOLD = ("state", "phase", "output", "problem", "recognised", "attempt", "started_at", "finished_at")

workers = sa.Table(
    "fusebox_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("heartbeat_at", sa.Float(53), nullable=False),
    sa.Column("leaving", sa.Boolean, nullable=False),  # it stopped on purpose: its job goes back uncounted
    sa.Column("confinement", sa.Text),  # of its children: full, partial or off
    sa.Column("device", sa.JSON(none_as_null=True)),  # how it fares: a DeviceHealth
    sa.Column("heir", sa.Text),
    sa.Column("heir_since", sa.Float(53)),
)

# Why workers do not start, one row for each host and device: what the API can tell of those that have no heartbeat.
refused = sa.Table(
    "fusebox_refused_workers",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),  # as it is asked for
    sa.Column("refused_at", sa.Float(53), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False),
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
        _begin_histories(connection)


def _add_columns(connection: sa.Connection) -> None:
    """What the tables of an older version lack: only columns that may be null are ever added."""
    for table in metadata.sorted_tables:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _fill_in_sizes(connection: sa.Connection) -> None:
    """Rows that an older version wrote say their sizes in JSON only."""
    unknown = sa.select(jobs.c.sequence, jobs.c.input, jobs.c.output).where(jobs.c.input_bytes.is_(None))
    for row in connection.execute(unknown).all():
        sizes = {"input_bytes": row.input["bytes"], "output_bytes": row.output and row.output["bytes"]}
        connection.execute(jobs.update().where(jobs.c.sequence == row.sequence).values(**sizes))


def _begin_histories(connection: sa.Connection) -> None:
    """Jobs that an older version accepted have no events: where they stand now is their first."""
    for row in connection.execute(sa.select(jobs).where(jobs.c.revision.is_(None))).mappings().all():
        connection.execute(jobs.update().where(jobs.c.id == row["id"]).values(revision=1))
        add_event(connection, {**row, "revision": 1})


def add_event(connection: sa.Connection, row: sa.RowMapping | Mapping[str, Any]) -> None:
    """Write down what a change made of a job, in its transaction; `row` is the job's as it is now."""
    change = {name: row[name] for name in TOLD}
    connection.execute(events.insert().values(job_id=row["id"], number=row["revision"], change=change))
