"""Following jobs: what became of one after a given event, where many stand, and the pages of a caller's list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from app.jobs.job import Job, State
from app.jobs.schema import events, jobs
from app.jobs.table import job_of, with_places

# SQLite takes no more than some thousand values in one statement.
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """As much of a job as it takes to see that there is something new."""

    revision: int
    state: State
    queue_position: int | None


def read_since(engine: sa.Engine, job_id: str, number: int) -> tuple[Job | None, list[Job]]:
    """The job now, and as each event after `number` left it, oldest first."""
    later = sa.select(events).where(events.c.job_id == job_id, events.c.number > number).order_by(events.c.number)
    with engine.connect() as connection:
        row = connection.execute(with_places().where(jobs.c.id == job_id)).mappings().one_or_none()
        if row is None:
            return None, []
        changes = connection.execute(later).all()
    past = {**row, "queue_position": None}
    return job_of(row), [job_of({**past, **one.change, "revision": one.number}) for one in changes]


def read_standings(engine: sa.Engine, job_ids: Sequence[str]) -> dict[str, Standing]:
    """Where these jobs stand; those that are gone are missing."""
    asked = sa.select(jobs.c.id, jobs.c.revision, jobs.c.state)
    parts = [job_ids[at : at + _AT_ONCE] for at in range(0, len(job_ids), _AT_ONCE)]
    with engine.connect() as connection:
        rows = [row for part in parts for row in connection.execute(asked.where(jobs.c.id.in_(part)))]
        # One pass over the queue, however many ask.
        places = _places(connection) if any(row.state == "queued" for row in rows) else {}
    return {row.id: Standing(row.revision or 0, row.state, places.get(row.id)) for row in rows}


def _places(connection: sa.Connection) -> dict[str, int]:
    queued = sa.select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.sequence)
    return {job_id: place for place, job_id in enumerate(connection.execute(queued).scalars(), 1)}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list, newest first: that of the last job of the page before."""

    created_at: float
    job_id: str


def list_jobs(
    engine: sa.Engine, owner: str | None, limit: int, after: Place | None = None, state: State | None = None
) -> list[Job]:
    """An owner's jobs, newest first, those of nobody for None; jobs that come and go do not shift later pages."""
    wanted = with_places().where(jobs.c.owner == owner)
    if state is not None:
        wanted = wanted.where(jobs.c.state == state)
    if after is not None:
        same_time = sa.and_(jobs.c.created_at == after.created_at, jobs.c.id < after.job_id)
        wanted = wanted.where(sa.or_(jobs.c.created_at < after.created_at, same_time))
    newest = wanted.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    with engine.connect() as connection:
        return [job_of(row) for row in connection.execute(newest).mappings()]
