"""Who is alive: heartbeats of workers, and the reaper that hands a dead worker's jobs to others.

The reaper is a loop in every worker. A dead worker's row is the lock: one heir at a time takes it, and deletes it only
after all that the dead one held is queued again, so that a reaper which dies halfway is itself followed by another.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.jobs.database import now
from app.jobs.queue import JobQueue
from app.jobs.schema import workers
from app.jobs.table import active_ids, fail_stranded, give_back_from

# An heir that has not finished by then is dead too.
_HEIR_SECONDS = 15.0

# `failing`: several jobs in a row ended with a fault of the GPU, which works when it is looked at. `failed`: it does
# not, and its worker takes no jobs.
DeviceState = Literal["ok", "failing", "failed"]


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """How the device of a worker fares, since when (seconds of the epoch), and the code of its last error."""

    device: str
    state: DeviceState
    error: str | None
    since: float


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that was heard of lately."""

    confinement: str
    device: DeviceHealth | None  # None from a worker of an older version

    @property
    def takes_jobs(self) -> bool:
        return self.device is None or self.device.state != "failed"


@dataclass(frozen=True, slots=True)
class Reaper:
    """What a worker needs to look after the others."""

    engine: sa.Engine
    queue: JobQueue
    worker: str
    dead_after_seconds: float
    max_deaths: int

    def pass_once(self) -> None:
        """Hand back what dead workers hold, and answer for jobs that the queue lost."""
        self._write_down_unknown_workers()
        for dead, left in self._inherit():
            self._hand_back_from(dead, died=not left)
        self._fail_stranded()

    def _write_down_unknown_workers(self) -> None:
        """A worker that was buried while it was paused, and then died for good, holds jobs without having a row."""
        holders = {held.worker for held in self.queue.held()} - {self.worker}
        with self.engine.begin() as connection:
            known = set(connection.execute(sa.select(workers.c.id)).scalars())
            for worker in holders - known:
                connection.execute(_upsert(self.engine, worker, heartbeat_at=0.0, leaving=False, only_new=True))

    def _inherit(self) -> list[tuple[str, bool]]:
        silent = now() - self.dead_after_seconds
        nobody = sa.or_(workers.c.heir.is_(None), workers.c.heir_since < now() - _HEIR_SECONDS)
        take = (
            workers.update()
            .where(workers.c.id != self.worker, sa.or_(workers.c.leaving, workers.c.heartbeat_at < silent), nobody)
            .values(heir=self.worker, heir_since=now())
            .returning(workers.c.id, workers.c.leaving)
        )
        with self.engine.begin() as connection:
            return [(row.id, row.leaving) for row in connection.execute(take)]

    def _hand_back_from(self, dead: str, *, died: bool) -> None:
        for held in self.queue.held():
            if held.worker == dead:
                with self.engine.begin() as connection:
                    give_back_from(connection, held.job_id, dead, died=died, max_deaths=self.max_deaths)
                self.queue.hand_back(held.job_id)
        with self.engine.begin() as connection:
            connection.execute(workers.delete().where(workers.c.id == dead, workers.c.heir == self.worker))

    def _fail_stranded(self) -> None:
        # The jobs are read first: one that ends in between has its answer already and is not touched.
        for job_id in self.queue.ended(active_ids(self.engine)):
            fail_stranded(self.engine, job_id)


def beat(
    engine: sa.Engine,
    worker: str,
    confinement: str = "unknown",
    device: DeviceHealth | None = None,
    *,
    leaving: bool = False,
) -> None:
    """Say that this worker lives, or that it stops on purpose, how its children are confined, and how its device is."""
    told = {"confinement": confinement, "device": None if device is None else asdict(device)}
    with engine.begin() as connection:
        connection.execute(_upsert(engine, worker, heartbeat_at=now(), leaving=leaving, told=told))


def live_workers(engine: sa.Engine, dead_after_seconds: float) -> list[LiveWorker]:
    """Every worker that was heard of lately and is not about to leave."""
    alive = sa.select(workers.c.confinement, workers.c.device).where(
        sa.not_(workers.c.leaving), workers.c.heartbeat_at >= now() - dead_after_seconds
    )
    with engine.connect() as connection:
        return [
            LiveWorker(row.confinement or "unknown", None if row.device is None else DeviceHealth(**row.device))
            for row in connection.execute(alive.order_by(workers.c.id))
        ]


def _upsert(
    engine: sa.Engine,
    worker: str,
    *,
    heartbeat_at: float | now,
    leaving: bool,
    told: dict[str, Any] | None = None,
    only_new: bool = False,
) -> sa.Insert:
    values = {"heartbeat_at": heartbeat_at, "leaving": leaving, **(told or {})}
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    row: postgresql.Insert | sqlite.Insert = insert(workers).values(id=worker, **values)
    if only_new:
        return row.on_conflict_do_nothing(index_elements=["id"])
    # A worker that speaks again has no heir any more.
    return row.on_conflict_do_update(index_elements=["id"], set_={**values, "heir": None})


def worker_ids(engine: sa.Engine) -> set[str]:
    """Every worker that has not been buried."""
    with engine.connect() as connection:
        return set(connection.execute(sa.select(workers.c.id)).scalars())
