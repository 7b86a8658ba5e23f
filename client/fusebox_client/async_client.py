"""The client for programs that do other things meanwhile: as `client`, with `await`."""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from fusebox_client.connection import Connection, opened
from fusebox_client.options import Options
from fusebox_client.progress import Progress, unheard
from fusebox_client.report.parts import FuseReport
from fusebox_client.talk import jobs, results
from fusebox_client.talk.drivers import drive_async
from fusebox_client.talk.patience import Patience
from fusebox_client.talk.steps import T, Talk
from fusebox_client.views import JobView, State


class AsyncFusebox:
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
        self._http = opened(self.connection, httpx.AsyncClient)

    async def fuse(
        self,
        model: str | os.PathLike[str],
        *,
        probe: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
        progress: Callable[[Progress], None] = unheard,
        **options: Unpack[Options],
    ) -> "AsyncJob":
        """Upload a checkpoint; the job that the service has accepted. The callback may be called in a thread."""
        probed = None if probe is None else Path(probe)
        sent = results.Sending(Path(model), probed, filename, idempotency_key, progress)
        return AsyncJob(self, await self.run(results.submit(sent, options, self.connection.patience)))

    async def job(self, job_id: str) -> "AsyncJob":
        """A job by its id. Raises JobNotFound."""
        return AsyncJob(self, await self.run(jobs.read(job_id, self.connection.patience)))

    async def jobs(self, *, state: State | None = None, page_size: int = 50) -> AsyncIterator["AsyncJob"]:
        """The jobs of this key, the newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self.run(jobs.list_page(state, page_size, cursor, self.connection.patience))
            for view in page.jobs:
                yield AsyncJob(self, view)
            cursor = page.next
            if cursor is None:
                return

    async def run(self, talk: Talk[T]) -> T:
        return await drive_async(talk, self._http)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


class AsyncJob:
    """A job of the service. `view` is how it stood when it was last asked about."""

    def __init__(self, service: AsyncFusebox, view: JobView) -> None:
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

    async def refresh(self) -> "AsyncJob":
        """Ask how it stands now."""
        self.view = await self.service.run(jobs.read(self.id, self.service.connection.patience))
        return self

    async def watch(
        self, heard: Callable[[JobView], None] = results.ignored, timeout: float | None = None
    ) -> "AsyncJob":
        """Wait for the end, whatever it is, and tell of each change. Raises StillRunning when the time is up."""
        talk = results.watched(self.view, heard, timeout, self.service.connection.patience)
        self.view = await self.service.run(talk)
        return self

    async def wait(
        self, timeout: float | None = None, heard: Callable[[JobView], None] = results.ignored
    ) -> "AsyncJob":
        """Wait for success. Raises JobFailed, JobCanceled, JobExpired, and StillRunning when the time is up."""
        results.check((await self.watch(heard, timeout)).view)
        return self

    async def download(
        self, to: str | os.PathLike[str] | None = None, *, progress: Callable[[Progress], None] = unheard
    ) -> Path:
        """The fused file, once there is one; `to` is a file or a directory, else the service names it."""
        return await self._fetch("model", to, progress)

    async def bundle(
        self, to: str | os.PathLike[str] | None = None, *, progress: Callable[[Progress], None] = unheard
    ) -> Path:
        """Fused file and report in one zip archive."""
        return await self._fetch("bundle", to, progress)

    async def report(self) -> FuseReport:
        """What was replaced, refused and removed, and how far the outputs moved."""
        return FuseReport.of(await self.report_json())

    async def report_json(self) -> dict[str, Any]:
        """The report as the service wrote it."""
        await self.wait()
        return await self.service.run(jobs.read_report(self.id, self.service.connection.patience))

    async def cancel(self) -> "AsyncJob":
        """End the job, or forget it if it has ended: its files are removed."""
        self.view = await self.service.run(jobs.cancel(self.id, self.service.connection.patience))
        return self

    async def _fetch(
        self, part: results.Part, to: str | os.PathLike[str] | None, progress: Callable[[Progress], None]
    ) -> Path:
        await self.wait()
        return await self.service.run(results.fetch(self.view, part, to, progress, self.service.connection.patience))
