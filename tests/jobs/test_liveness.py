"""Heartbeats and the reaper, with workers that are real processes taking jobs from the real queue."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs import table
from app.jobs.job import Input, Job
from app.jobs.liveness import DeviceHealth, LiveWorker, Reaper, beat, live_workers, worker_ids
from app.jobs.queue import Held, JobQueue
from app.jobs.schema import create_tables, jobs, workers
from app.options import FuseOptions

_ROOT = Path(__file__).resolve().parent.parent.parent
_INPUT = Input("yolov7.pt", 10, "ab" * 32, "a/input")

# A worker that claims its jobs, writes them down and, as `hangs` says, stays with the first or finishes each.
_WORKER = """
import sys, threading
from app.jobs import table
from app.jobs.database import open_database
from app.jobs.job import Output
from app.jobs.liveness import beat
from app.jobs.queue import consume
url, name, hangs = sys.argv[1:]
engine = open_database(url)
beat(engine, name)
def run(job_id):
    job = table.claim_job(engine, job_id, name)
    if job is None:
        return
    print(job_id, flush=True)
    if hangs == "hangs":
        threading.Event().wait()
    table.publish(engine, job, Output("o.pt", 1, "00" * 32, "m", "r"))
consume(url, engine, name, 0.05, run)
threading.Event().wait()
"""


def _accept(engine: sa.Engine, queue: JobQueue, job_id: str) -> None:
    with engine.begin() as connection:
        queue.enqueue(connection, job_id, table.insert_job(connection, job_id, FuseOptions(), _INPUT))


def _read(engine: sa.Engine, job_id: str) -> Job:
    job = table.read_job(engine, job_id)
    assert job is not None
    return job


def _until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def work(database_url: str) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(name: str, hangs: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", _WORKER, database_url, name, hangs]
        started.append(subprocess.Popen(program, cwd=_ROOT, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_dead_workers_job_is_finished_by_another(
    engine: sa.Engine, queue: JobQueue, work: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    _accept(engine, queue, "a")
    first = work("first", "hangs")
    assert _line(first) == "a"
    assert queue.held() == [Held("a", "first")]
    first.kill()
    time.sleep(1.1)

    Reaper(engine, queue, "heir", dead_after_seconds=1, max_deaths=2).pass_once()

    assert _read(engine, "a").state == "queued"
    assert worker_ids(engine) == set()
    assert _line(work("second", "finishes")) == "a"
    _until(lambda: _read(engine, "a").state == "succeeded")
    _until(lambda: queue.ended(["a"]) == ["a"])
    assert _read(engine, "a").attempt == 2


def test_a_living_worker_keeps_its_job(
    engine: sa.Engine, queue: JobQueue, work: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    _accept(engine, queue, "a")
    assert _line(work("first", "hangs")) == "a"
    beat(engine, "first")

    Reaper(engine, queue, "other", dead_after_seconds=30, max_deaths=2).pass_once()

    assert _read(engine, "a").state == "running"
    assert queue.held() == [Held("a", "first")]


def test_jobs_run_in_the_order_of_their_acceptance(
    engine: sa.Engine, queue: JobQueue, work: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    names = [f"job-{9 - number}" for number in range(6)]
    for name in names:
        _accept(engine, queue, name)

    worker = work("first", "finishes")

    assert [_line(worker) for _ in names] == names


def test_a_job_whose_transaction_fails_was_never_accepted(engine: sa.Engine, queue: JobQueue) -> None:
    def accept_and_fail() -> None:
        with engine.begin() as connection:
            queue.enqueue(connection, "a", table.insert_job(connection, "a", FuseOptions(), _INPUT))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        accept_and_fail()

    assert table.read_job(engine, "a") is None
    _accept(engine, queue, "a")


def test_a_worker_without_a_row_that_holds_a_job_is_found_dead(
    engine: sa.Engine, queue: JobQueue, work: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    _accept(engine, queue, "a")
    first = work("first", "hangs")
    assert _line(first) == "a"
    first.kill()
    with engine.begin() as connection:
        connection.execute(workers.delete())

    Reaper(engine, queue, "heir", dead_after_seconds=5, max_deaths=2).pass_once()

    assert _read(engine, "a").state == "queued"
    assert queue.held() == []


def test_a_job_that_the_queue_is_done_with_is_answered_for(
    engine: sa.Engine, queue: JobQueue, work: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    _accept(engine, queue, "a")
    assert _line(work("first", "finishes")) == "a"
    _until(lambda: queue.ended(["a"]) == ["a"])
    with engine.begin() as connection:
        connection.execute(jobs.update().values(state="running", output=None))

    Reaper(engine, queue, "other", dead_after_seconds=60, max_deaths=2).pass_once()

    problem = _read(engine, "a").problem
    assert problem is not None
    assert problem.code == "internal-error"


def test_of_two_reapers_one_inherits(engine: sa.Engine, queue: JobQueue) -> None:
    beat(engine, "gone", leaving=True)
    reapers = [Reaper(engine, queue, name, dead_after_seconds=5, max_deaths=2) for name in ("x", "y")]

    assert [reaper._inherit() for reaper in reapers] == [[("gone", True)], []]


def test_a_silent_worker_is_not_a_live_one(engine: sa.Engine) -> None:
    assert live_workers(engine, 5) == []
    beat(engine, "w", "full")
    assert live_workers(engine, 5) == [LiveWorker("full", None)]
    time.sleep(0.2)
    assert live_workers(engine, 0.1) == []
    beat(engine, "w", leaving=True)
    assert live_workers(engine, 5) == []


def test_each_live_worker_tells_how_its_children_are_confined_and_how_its_device_fares(engine: sa.Engine) -> None:
    sick = DeviceHealth("cuda:1", "failed", "gpu-broken", 1795856400.5)
    beat(engine, "a", "full", DeviceHealth("cuda:0", "ok", None, 1.0))
    beat(engine, "b", "off", sick)
    beat(engine, "older")
    with engine.begin() as connection:
        connection.execute(workers.update().where(workers.c.id == "older").values(confinement=None))

    found = live_workers(engine, 5)

    assert [one.confinement for one in found] == ["full", "off", "unknown"]
    assert [one.device for one in found] == [DeviceHealth("cuda:0", "ok", None, 1.0), sick, None]
    assert [one.takes_jobs for one in found] == [True, False, True]


def test_a_table_of_an_older_version_gets_the_column_of_devices(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE fusebox_workers DROP COLUMN device"))

    create_tables(engine)
    beat(engine, "w", "full", DeviceHealth("cpu", "ok", None, 1.0))

    assert live_workers(engine, 5) == [LiveWorker("full", DeviceHealth("cpu", "ok", None, 1.0))]
