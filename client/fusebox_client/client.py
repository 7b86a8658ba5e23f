"""The client for programs that wait: `Fusebox(url, key).fuse("m.pt").download("m.fused.pt")`."""

import os
import ssl
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from fusebox_client.connection import Connection, opened
from fusebox_client.options import Options
from fusebox_client.progress import Progress, unheard
from fusebox_client.report.parts import FuseReport
from fusebox_client.talk import jobs, results
from fusebox_client.talk.drivers import drive
from fusebox_client.talk.patience import Patience
from fusebox_client.talk.steps import T, Talk
from fusebox_client.views import JobView, State


class Fusebox:
    """A service. `url` and `key` come from FUSEBOX_URL and FUSEBOX_KEY where they are not given."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.connection = Connection.of(url, key, patience, verify)
        self._http = opened(self.connection, httpx.Client)
        weakref.finalize(self, self._http.close)  # a single line of code closes nothing by itself

    def fuse(
        self,
        model: str | os.PathLike[str],
        *,
        probe: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
        progress: Callable[[Progress], None] = unheard,
        **options: Unpack[Options],
    ) -> "Job":
        """Upload a checkpoint; the job that the service has accepted.

        The same `idempotency_key` with the same file and options is the same job, whoever asks again and how often.
        """
        sent = results.Sending(Path(model), None if probe is None else Path(probe), filename, idempotency_key, progress)
        return Job(self, self.run(results.submit(sent, options, self.connection.patience)))

    def job(self, job_id: str) -> "Job":
        """A job by its id. Raises JobNotFound."""
        return Job(self, self.run(jobs.read(job_id, self.connection.patience)))

    def jobs(self, *, state: State | None = None, page_size: int = 50) -> Iterator["Job"]:
        """The jobs of this key, the newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = self.run(jobs.list_page(state, page_size, cursor, self.connection.patience))
            yield from (Job(self, view) for view in page.jobs)
            cursor = page.next
            if cursor is None:
                return

    def run(self, talk: Talk[T]) -> T:
        return drive(talk, self._http)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Job:
    """A job of the service. `view` is how it stood when it was last asked about."""

    def __init__(self, service: Fusebox, view: JobView) -> None:
        self.service = service
        self.view = view

    @property
    def id(self) -> str:
        return self.view.id

    @property
    def state(self) -> State:
        return self.view.state

    @property
    def url(self) -> str:
        """For people and for other programs: the job's page, where the service has pages."""
        return results.job_url(self.service.connection.url, self.view)

    def refresh(self) -> "Job":
        """Ask how it stands now."""
        self.view = self.service.run(jobs.read(self.id, self.service.connection.patience))
        return self

    def watch(self, heard: Callable[[JobView], None] = results.ignored, timeout: float | None = None) -> "Job":
        """Wait for the end, whatever it is, and tell of each change. Raises StillRunning when the time is up."""
        self.view = self.service.run(results.watched(self.view, heard, timeout, self.service.connection.patience))
        return self

    def wait(self, timeout: float | None = None, heard: Callable[[JobView], None] = results.ignored) -> "Job":
        """Wait for success. Raises JobFailed, JobCanceled, JobExpired, and StillRunning when the time is up."""
        results.check(self.watch(heard, timeout).view)
        return self

    def download(
        self, to: str | os.PathLike[str] | None = None, *, progress: Callable[[Progress], None] = unheard
    ) -> Path:
        """The fused file, once there is one; `to` is a file or a directory, else the service names it."""
        return self._fetch("model", to, progress)

    def bundle(
        self, to: str | os.PathLike[str] | None = None, *, progress: Callable[[Progress], None] = unheard
    ) -> Path:
        """Fused file and report in one zip archive."""
        return self._fetch("bundle", to, progress)

    def report(self) -> FuseReport:
        """What was replaced, refused and removed, and how far the outputs moved."""
        return FuseReport.of(self.report_json())

    def report_json(self) -> dict[str, Any]:
        """The report as the service wrote it."""
        self.wait()
        return self.service.run(jobs.read_report(self.id, self.service.connection.patience))

    def cancel(self) -> "Job":
        """End the job, or forget it if it has ended: its files are removed."""
        self.view = self.service.run(jobs.cancel(self.id, self.service.connection.patience))
        return self

    def _fetch(
        self, part: results.Part, to: str | os.PathLike[str] | None, progress: Callable[[Progress], None]
    ) -> Path:
        self.wait()
        return self.service.run(results.fetch(self.view, part, to, progress, self.service.connection.patience))
