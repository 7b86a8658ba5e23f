"""Requests that wait for news of a job: however many there are, one look at the database in a while serves all.

A request that waits holds a connection and a few objects, no thread and no connection to the database.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar, TypeVarTuple

import anyio
import sqlalchemy as sa

from app.jobs.history import Standing, read_standings
from app.jobs.job import Job

_PAUSE_SECONDS = 0.1
# A look takes no more than this part of the time, however long the queue is.
_SHARE = 0.2
_OUTAGE_SECONDS = 1.0
_HEED_SECONDS = 0.25

Given = TypeVarTuple("Given")
Read = TypeVar("Read")

log = logging.getLogger("fusebox.api")


@dataclass(slots=True, eq=False)
class Bell:
    """One request's: it rings while the job stands otherwise than the request has `seen`."""

    seen: Standing | None = None
    _rung: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, job: Job) -> None:
        """What the request knows now."""
        self.seen = Standing(job.revision, job.state, job.queue_position)

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Whether there is news, or the service stops, within this time."""
        with anyio.move_on_after(seconds):
            await self._rung.wait()
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


@dataclass(slots=True, eq=False)
class Watch:
    """The one that looks, in this process: as long as somebody waits. Used from the event loop alone."""

    engine: sa.Engine
    stopping: Event
    _bells: dict[str, set[Bell]] = field(default_factory=dict)
    _looking: asyncio.Task[None] | None = None
    # Threads of its own: those of other requests may all be busy, and must not be kept busy by those who wait.
    _threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(4))

    @contextmanager
    def on(self, job_id: str) -> Iterator[Bell]:
        """A bell for this job, as long as the context lasts."""
        bell = Bell()
        self._bells.setdefault(job_id, set()).add(bell)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    async def read(self, function: Callable[[*Given], Read], *given: *Given) -> Read:
        """Ask the database, for a request that waits."""
        return await anyio.to_thread.run_sync(function, *given, limiter=self._threads, abandon_on_cancel=True)

    async def _look(self) -> None:
        try:
            while self._bells:
                began = asyncio.get_running_loop().time()
                pause = _PAUSE_SECONDS
                try:
                    self._ring(await self._read())
                except sa.exc.SQLAlchemyError as error:
                    # Those who wait ask for themselves once in a while, and tell it.
                    log.warning("api.watch_failed cause=%s", str(getattr(error, "orig", error)).strip())
                    pause = _OUTAGE_SECONDS
                took = asyncio.get_running_loop().time() - began
                await self._sleep(max(pause, took / _SHARE))
        finally:
            self._looking = None

    async def _read(self) -> dict[str, Standing]:
        ids = list(self._bells)
        reading = asyncio.ensure_future(self.read(read_standings, self.engine, ids))
        while not reading.done():
            await asyncio.wait([reading], timeout=_HEED_SECONDS)
            self._heed()
        return reading.result()

    def _ring(self, standings: dict[str, Standing]) -> None:
        for job_id, bells in self._bells.items():
            for bell in bells:
                if bell.seen != standings.get(job_id):
                    bell.ring()

    async def _sleep(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            self._heed()
            await asyncio.sleep(min(left, _HEED_SECONDS))

    def _heed(self) -> None:
        """Let everybody go when the process stops."""
        if self.stopping.is_set():
            for bells in self._bells.values():
                for bell in bells:
                    bell.ring()
