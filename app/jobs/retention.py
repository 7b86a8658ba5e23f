"""What is removed, and when: the files of old jobs, then their rows, and uploads that never became a job."""

from dataclasses import dataclass

import sqlalchemy as sa

from app.jobs.database import now
from app.jobs.job import FINISHED
from app.jobs.queue import JobQueue
from app.jobs.schema import events, jobs
from app.jobs.table import expire
from app.storage import Blobs, job_prefix

# An upload in progress has no row yet; its file is touched with every write.
_ORPHAN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long finished jobs, and what is known of them, are kept."""

    engine: sa.Engine
    queue: JobQueue
    blobs: Blobs
    keep_seconds: float
    keep_row_seconds: float

    def sweep(self) -> None:
        """Apply it once. Safe in several workers at the same time, and after having been interrupted anywhere."""
        for job_id in self._ids(jobs.c.state.in_(FINISHED), self.keep_seconds):
            if expire(self.engine, job_id):
                self.blobs.delete_prefix(job_prefix(job_id))
        old = self._ids(jobs.c.state == "expired", self.keep_seconds + self.keep_row_seconds)
        self.queue.forget(old)
        with self.engine.begin() as connection:
            for job_id in old:
                connection.execute(jobs.delete().where(jobs.c.id == job_id, jobs.c.state == "expired"))
                connection.execute(events.delete().where(events.c.job_id == job_id))
        self._sweep_orphans()

    def _sweep_orphans(self) -> None:
        """Files of no job, or of one whose files should be gone, older than any upload in progress."""
        for owner in self.blobs.idle_jobs(_ORPHAN_SECONDS):
            with self.engine.connect() as connection:
                state = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == owner)).scalar_one_or_none()
            if state is None or state == "expired":
                self.blobs.delete_prefix(job_prefix(owner))

    def _ids(self, which: sa.ColumnElement[bool], seconds: float) -> list[str]:
        with self.engine.connect() as connection:
            old = sa.select(jobs.c.id).where(which, jobs.c.finished_at < now() - seconds)
            return list(connection.execute(old).scalars())
