"""Looks at files whose jobs wait for their turn, beside the job that runs: what was recognised stands there early.

A warm parent and a child of its own, confined as for a job, with less memory and less of the processor. Nothing
depends on a look: one that fails or is lost leaves the job as it was.
"""

import json
import logging
import shutil
from dataclasses import dataclass

from app.errors import StorageUnavailable
from app.jobs import looks
from app.jobs.job import Job
from app.report import Recognised
from app.sandbox.limits import Limits
from app.sandbox.outcome import Interrupted, Outcome, Succeeded
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Request
from app.storage import BlobNotFound
from app.worker.run_job import Bench

_SECONDS = 60.0
_SHARE_OF_MEMORY = 4  # a quarter of what a job may use

log = logging.getLogger("fusebox.worker")


@dataclass(frozen=True, slots=True)
class Looker:
    """What a worker looks with."""

    bench: Bench
    forge: Forge

    def look_once(self) -> bool:
        """Look at the job that waits longest; False if none waits to be looked at."""
        job = looks.take_look(self.bench.engine)
        if job is None:
            return False
        found: list[Recognised] = []
        directory = self.bench.work_dir / self.bench.worker / f"{job.id}-look"
        try:
            (directory / "work").mkdir(parents=True, mode=0o700)
            self.bench.blobs.place(job.input.key, directory / "input")
            outcome = self.forge.run(
                self._request(job, str(directory)),
                on_phase=lambda _: None,
                on_recognised=found.append,
                unwanted=lambda: not looks.is_waiting(self.bench.engine, job.id),
                seconds=_SECONDS,
            )
        except (StorageUnavailable, BlobNotFound):
            return True  # an outage, or the job is gone: the next one may be luckier
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self._tell(job, outcome, found)
        return True

    def _request(self, job: Job, directory: str) -> Request:
        usual = self.bench.limits_for(job.input.bytes)
        limits = Limits(memory=max(usual.memory // _SHARE_OF_MEMORY, 1), written=usual.written, threads=usual.threads)
        return Request(
            directory=directory,
            filename=job.input.filename,
            options=job.options,
            device="cpu",
            allowed_globals=self.bench.allowed_globals,
            limits=limits,
            mode=self.bench.sandbox,
            sha256=job.input.sha256,
            look=True,
        )

    def _tell(self, job: Job, outcome: Outcome, found: list[Recognised]) -> None:
        if isinstance(outcome, Succeeded) and found:
            told = looks.recognise(self.bench.engine, job.id, found[0])
            log.info("%s", json.dumps({"event": "job.recognised" if told else "job.began_before", "job_id": job.id}))
        elif not isinstance(outcome, Interrupted):
            looks.look_no_more(self.bench.engine, job.id)
