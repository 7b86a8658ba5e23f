"""Which queued jobs a worker looks at before their turn comes, to tell what is in the file.

`looked_at` is for workers alone and no change of the job: it has no event. A look that is lost with its worker is
taken again; one that ended without a result is not: the job itself will tell what is wrong.
"""

import sqlalchemy as sa

from app.jobs.database import now
from app.jobs.job import Job
from app.jobs.schema import jobs
from app.jobs.table import change_jobs, job_of
from app.report import Recognised

_LEASE_SECONDS = 120.0  # longer than any look takes
_NEVER_AGAIN = 1e15


def take_look(engine: sa.Engine) -> Job | None:
    """The queued job that waits longest to be looked at, for this worker; None if there is none."""
    waiting = sa.and_(
        jobs.c.state == "queued",
        jobs.c.recognised.is_(None),
        sa.or_(jobs.c.looked_at.is_(None), jobs.c.looked_at < now() - _LEASE_SECONDS),
    )
    first = sa.select(jobs.c.sequence).where(waiting).order_by(jobs.c.sequence).limit(1).scalar_subquery()
    claim = jobs.update().where(jobs.c.sequence == first, waiting).values(looked_at=now()).returning(*jobs.c)
    with engine.connect() as connection:
        if connection.execute(sa.select(first)).scalar_one_or_none() is None:
            return None  # nearly always: a database with one writer is not kept from its work
    with engine.begin() as connection:
        row = connection.execute(claim).mappings().one_or_none()
    return None if row is None else job_of(row)


def is_waiting(engine: sa.Engine, job_id: str) -> bool:
    """Whether the job is still queued."""
    with engine.connect() as connection:
        found = sa.select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.state == "queued")
        return connection.execute(found).one_or_none() is not None


def recognise(engine: sa.Engine, job_id: str, recognised: Recognised) -> bool:
    """Tell what is in the file of a job that still waits; False if its turn has come."""
    waiting = sa.and_(jobs.c.id == job_id, jobs.c.state == "queued", jobs.c.recognised.is_(None))
    with engine.begin() as connection:
        return len(change_jobs(connection, waiting, recognised=recognised.model_dump(mode="json"))) == 1


def look_no_more(engine: sa.Engine, job_id: str) -> None:
    """Nothing was recognised, and nothing would be the next time."""
    with engine.begin() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(looked_at=_NEVER_AGAIN))
