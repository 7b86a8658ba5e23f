"""The worker process: takes jobs from the queue one at a time, says that it lives, and looks after dead workers."""

import logging
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import sqlalchemy as sa

from app.errors import CanNotStart
from app.jobs.liveness import Reaper, beat, worker_ids
from app.jobs.opening import open_prepared
from app.jobs.queue import JobQueue, consume
from app.jobs.refused import forget_refusals
from app.jobs.retention import Retention
from app.sandbox.limits import machine_memory
from app.sandbox.supervisor import Forge, ForgeBroken
from app.settings import Settings, make_data_dir
from app.storage import open_blobs
from app.worker.device import DeviceLost, DeviceWatch
from app.worker.look import Looker
from app.worker.run_job import Bench, run_job
from app.worker.start import (
    awaited_device,
    device_memory,
    prove_confined,
    say_ready,
    start_over,
    usable_device,
)

_LOOK_SECONDS = 0.5  # how soon after its upload a waiting file is looked at
_SHARE_OF_MEMORY = 0.8  # of the machine's, for one job: the rest is for the service and the files' pages

log = logging.getLogger("fusebox.worker")


@dataclass(slots=True)
class _Turn:
    """Whether a job runs, and whether another may begin."""

    closing: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)  # the device does not work any more
    busy: threading.Lock = field(default_factory=threading.Lock)

    def take(self, bench: Bench, job_id: str) -> None:
        with self.busy:
            if not self.closing.is_set():
                try:
                    run_job(bench, job_id)
                    return
                except DeviceLost:
                    self.closing.set()
                    self.lost.set()
                except Exception:
                    # Left to end here, the queue would count the job as done. The next worker inherits it.
                    log.exception("worker.broken job_id=%s", job_id)
                    os._exit(70)
        # Claimed while closing: not to be ended, or the queue would count it as done. It goes back with this worker.
        threading.Event().wait()


def run_worker(settings: Settings, *, waits: bool = False) -> NoReturn:
    """Work until SIGTERM or SIGINT; then let the job run on for `drain_seconds` and hand back what is left.

    A GPU that does not work is waited for, or refused. Raises InvalidSettings, CanNotStart.
    """
    make_data_dir(settings)
    stop = threading.Event()
    _when_told_to_stop(stop.set if waits else _end)
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    # Before anything is begun: what is refused leaves its reason behind and nothing else.
    device = None if waits else usable_device(settings)
    engine = open_prepared(settings.database)
    queue = JobQueue(engine)
    blobs = open_blobs(settings.blobs)
    reaper = Reaper(engine, queue, worker, settings.dead_after_seconds, settings.max_attempts)
    if device is None:
        device = awaited_device(settings, engine, worker, reaper, stop)
    _when_told_to_stop(_end)
    forge = Forge(settings.torch_threads)
    try:
        forge.warm()
    except ForgeBroken as error:
        raise CanNotStart(str(error)) from None
    bench = Bench(
        engine=engine,
        blobs=blobs,
        forge=forge,
        worker=worker,
        work_dir=settings.work_dir,
        watch=DeviceWatch(device),
        timeout_seconds=settings.job_timeout_seconds,
        max_deaths=settings.max_attempts,
        allowed_globals=settings.allowed_names,
        memory=settings.job_memory_bytes or int(machine_memory() * _SHARE_OF_MEMORY),
        device_memory=device_memory(settings, device),
        threads=settings.torch_threads or len(os.sched_getaffinity(0)),
        sandbox=settings.sandbox,
    )
    confinement = prove_confined(bench, settings, worker).confinement
    _when_told_to_stop(stop.set)

    def say(*, leaving: bool = False) -> None:
        beat(engine, worker, confinement, bench.watch.health, leaving=leaving)

    retention = Retention(engine, queue, blobs, settings.retention, settings.row_retention)
    # Before the first job is taken: a worker that dies with a job must be known to have lived.
    say()
    forget_refusals(engine)
    beats = _every(settings.heartbeat_seconds, say, stop)
    _every(settings.heartbeat_seconds, reaper.pass_once, stop)
    _every(settings.sweep_seconds, lambda: _sweep(retention, settings, engine), stop)
    turn = _Turn()
    looker = Looker(bench, Forge(1, purpose="looks"))
    _every(_LOOK_SECONDS, lambda: _look(looker, turn), stop)
    consume(settings.database, engine, worker, settings.queue_poll_seconds, lambda job_id: turn.take(bench, job_id))
    say_ready(worker, device, confinement, settings)
    while not stop.wait(1.0) and not turn.lost.is_set():
        pass
    turn.closing.set()
    if turn.lost.is_set() and not stop.is_set():
        stop.set()
        beats.join()
        say(leaving=True)
        start_over(settings, device, forge)
    _drain(turn, beats, say, settings)


def _when_told_to_stop(act: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: act())


def _end() -> None:
    """Before the first job there is nothing to wait for; the warm parent sees its socket close."""
    os._exit(0)


def _look(looker: Looker, turn: _Turn) -> None:
    """At all that waits, for as long as this worker has a job: else it takes what waits itself."""
    while turn.busy.locked() and not turn.closing.is_set() and looker.look_once():
        pass


def _drain(turn: _Turn, beats: threading.Thread, say: Callable[..., None], settings: Settings) -> NoReturn:
    deadline = time.monotonic() + settings.drain_seconds
    while not turn.busy.acquire(timeout=min(settings.heartbeat_seconds, 0.2)):
        if time.monotonic() > deadline:
            log.info("worker.hands_back")
            break
        say()
    beats.join()
    say(leaving=True)
    # Not sys.exit: threads of the queue hold claimed jobs, which must stay claimed until somebody inherits them.
    # The warm parent sees its socket close and takes the child with it.
    os._exit(0)


def _every(seconds: float, act: Callable[[], object], stop: threading.Event) -> threading.Thread:
    """Do something again and again in a thread; what it raises is logged, and it is tried again."""

    def loop() -> None:
        while not stop.is_set():
            try:
                act()
            except Exception:
                log.exception("worker.upkeep_failed")
            stop.wait(seconds)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    return thread


def _sweep(retention: Retention, settings: Settings, engine: sa.Engine) -> None:
    retention.sweep()
    if settings.work_dir.exists():
        # Listed first: a worker that starts in between makes its directory after its row.
        directories = list(settings.work_dir.iterdir())
        known = worker_ids(engine)
        for directory in directories:
            if directory.name not in known:
                shutil.rmtree(directory, ignore_errors=True)
