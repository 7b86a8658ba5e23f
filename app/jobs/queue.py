"""The port to DBOS Transact, which is pinned exactly: nothing else in the house knows its names.

`JobQueue` puts jobs in and moves them between workers; `consume` runs them. Rows of the queue carry the job's id and
nothing else, as JSON.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, EnqueueOptions, WorkflowSerializationFormat

_APPLICATION: Final = "fusebox"
_QUEUE: Final = "fuse"
_WORKFLOW: Final = "fuse"
# Not the program's version: after an upgrade the jobs of the version before must still find a worker.
_PROTOCOL: Final = "1"
_PRIORITIES: Final = 2**31 - 2
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


@dataclass(frozen=True, slots=True)
class Held:
    """A job that the queue has handed to a worker."""

    job_id: str
    worker: str


def prepare_queue(database_url: str) -> None:
    """Create or migrate the queue's own tables; safe in several processes at once."""
    _quiet()
    DBOS.migrate(database_url)


class JobQueue:
    """The producer's and the reaper's side of the queue; close it when done."""

    def __init__(self, engine: sa.Engine) -> None:
        _quiet()
        self._client = DBOSClient(system_database_engine=engine, application_name=_APPLICATION)

    def close(self) -> None:
        self._client.destroy()

    def enqueue(self, connection: sa.Connection, job_id: str, sequence: int) -> None:
        """Put a job in, within the caller's transaction. A repeated id stays one job."""
        options: EnqueueOptions = {
            "workflow_name": _WORKFLOW,
            "queue_name": _QUEUE,
            "workflow_id": job_id,
            "app_version": _PROTOCOL,
            # DBOS orders by priority, then by a time with a resolution of one second.
            "priority": sequence % _PRIORITIES + 1,
            "serialization_type": WorkflowSerializationFormat.PORTABLE,
        }
        self._client.enqueue_in_transaction(connection, options, job_id)

    def held(self) -> list[Held]:
        """Every job that is with a worker, dead or alive."""
        pending = self._client.list_workflows(status="PENDING", name=_WORKFLOW, load_input=False, load_output=False)
        return [Held(one.workflow_id, one.executor_id or "") for one in pending]

    def hand_back(self, job_id: str) -> None:
        """Queue a dead worker's job again, in its old place. Does nothing to a job that ended meanwhile."""
        self._client.resume_workflow(job_id, queue_name=_QUEUE)

    def ended(self, job_ids: Sequence[str]) -> list[str]:
        """Those of the jobs that the queue is done with."""
        if not job_ids:
            return []
        found = self._client.list_workflows(
            workflow_ids=list(job_ids), status=_ENDED, load_input=False, load_output=False
        )
        return [one.workflow_id for one in found]

    def forget(self, job_ids: Sequence[str]) -> None:
        """Remove the queue's rows of finished jobs."""
        if job_ids:
            self._client.delete_workflows(list(job_ids))


def consume(database_url: str, engine: sa.Engine, worker: str, poll_seconds: float, run: Callable[[str], None]) -> None:
    """Start running jobs, one at a time, in a thread of this process; returns at once."""
    _quiet()
    DBOS(
        config={
            "name": _APPLICATION,
            "system_database_url": database_url,
            "system_database_engine": engine,
            "application_version": _PROTOCOL,
            "executor_id": worker,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
    )

    @DBOS.workflow(
        name=_WORKFLOW,
        # Attempts are counted in the jobs table: the queue's own count starts anew with every hand-back.
        max_recovery_attempts=None,
        serialization_type=WorkflowSerializationFormat.PORTABLE,
    )
    def fuse(job_id: str) -> None:
        run(job_id)

    DBOS.listen_queues([_QUEUE])
    DBOS.launch()
    DBOS.register_queue(_QUEUE, worker_concurrency=1, polling_interval_sec=poll_seconds, on_conflict="always_update")


def _quiet() -> None:
    """DBOS announces itself and a console on the web at level INFO; its errors are kept."""
    logging.getLogger("dbos").setLevel(logging.ERROR)
