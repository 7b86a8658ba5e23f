"""How much may wait and how much may lie here, for all and for one key, counted in the jobs table."""

from dataclasses import dataclass

import sqlalchemy as sa

from app.errors import DiskFull, QueueFull, QuotaExceeded, TooManyJobs
from app.jobs.job import ACTIVE
from app.jobs.schema import jobs

_WITH_FILES = (*ACTIVE, "succeeded", "failed")
_LOCK = 715518


@dataclass(frozen=True, slots=True)
class Usage:
    """What there is of all jobs, or of one key's: unfinished ones, bytes of files, bytes of results still to come."""

    active: int
    stored_bytes: int
    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits; 0 is none."""

    max_active_jobs: int
    max_active_jobs_per_key: int
    max_stored_bytes: int
    max_stored_bytes_per_key: int

    def check(self, everything: Usage, own: Usage | None, coming_bytes: int) -> None:
        """Whether an upload of so many bytes may become a job; its result will take about as much again.

        Raises QueueFull, TooManyJobs, DiskFull, QuotaExceeded.
        """
        if 0 < self.max_active_jobs <= everything.active:
            raise QueueFull(
                f"{everything.active} jobs are waiting or running, which is the limit.", remedy="Try again in a while."
            )
        if own is not None and 0 < self.max_active_jobs_per_key <= own.active:
            raise TooManyJobs(
                f"{own.active} jobs of this key are waiting or running, which is the limit.",
                remedy="Send the next when one of them is done, or cancel one.",
                limit=self.max_active_jobs_per_key,
            )
        if _exceeds(everything, coming_bytes, self.max_stored_bytes):
            raise DiskFull(
                f"The files of all jobs would take more than {self.max_stored_bytes:,} bytes.",
                remedy="Try again later, or ask the operator of this service for more room.",
            )
        if own is not None and _exceeds(own, coming_bytes, self.max_stored_bytes_per_key):
            raise QuotaExceeded(
                f"The files of this key's jobs would take more than {self.max_stored_bytes_per_key:,} bytes.",
                remedy="Delete finished jobs: curl -X DELETE .../v1/jobs/ID",
                limit_bytes=self.max_stored_bytes_per_key,
            )


def lock_admission(connection: sa.Connection) -> None:
    """One admission at a time: what is counted next is still true when the row is added."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def read_usage(connection: sa.Connection, owner: str | None = None) -> Usage:
    """What there is of all jobs, or of this key's."""
    active = jobs.c.state.in_(ACTIVE)
    size = sa.func.coalesce(jobs.c.input_bytes, 0)
    question = sa.select(
        sa.func.count().filter(active),
        sa.func.coalesce(sa.func.sum(size + sa.func.coalesce(jobs.c.output_bytes, 0)), 0),
        sa.func.coalesce(sa.func.sum(size).filter(active), 0),
    ).where(jobs.c.state.in_(_WITH_FILES))
    if owner is not None:
        question = question.where(jobs.c.owner == owner)
    row = connection.execute(question).one()
    return Usage(int(row[0]), int(row[1]), int(row[2]))


def _exceeds(usage: Usage, coming_bytes: int, limit: int) -> bool:
    return 0 < limit < usage.stored_bytes + usage.expected_bytes + 2 * coming_bytes
