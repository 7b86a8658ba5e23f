import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs import table
from app.jobs.job import Input, Output
from app.jobs.queue import JobQueue
from app.jobs.retention import Retention
from app.jobs.schema import events, jobs
from app.options import FuseOptions
from app.storage import LocalBlobs, input_key


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def _accept(engine: sa.Engine, queue: JobQueue, blobs: LocalBlobs, job_id: str) -> None:
    upload = blobs.upload(input_key(job_id))
    upload.write(b"weights")
    upload.commit()
    source = Input("a.pt", 7, "00" * 32, input_key(job_id))
    with engine.begin() as connection:
        queue.enqueue(connection, job_id, table.insert_job(connection, job_id, FuseOptions(), source))


def _finish(engine: sa.Engine, job_id: str) -> None:
    job = table.claim_job(engine, job_id, "w")
    assert job is not None
    table.publish(engine, job, Output("a.fused.pt", 1, "00" * 32, "m", "r"))


def _files(blobs: LocalBlobs) -> list[str]:
    return sorted(path.parent.name for path in blobs._root.rglob("*") if path.is_file())


def test_files_of_old_finished_jobs_go_and_all_others_stay(
    engine: sa.Engine, queue: JobQueue, blobs: LocalBlobs
) -> None:
    for job_id in ("old", "new", "queued"):
        _accept(engine, queue, blobs, job_id)
    _finish(engine, "old")
    with engine.begin() as connection:
        connection.execute(jobs.update().where(jobs.c.id == "old").values(finished_at=time.time() - 100))
    _finish(engine, "new")

    Retention(engine, queue, blobs, keep_seconds=50, keep_row_seconds=1000).sweep()

    states = {name: table.read_job(engine, name) for name in ("old", "new", "queued")}
    assert {name: job and job.state for name, job in states.items()} == {
        "old": "expired",
        "new": "succeeded",
        "queued": "queued",
    }
    assert _files(blobs) == ["new", "queued"]


def test_rows_go_later_and_take_the_queues_rows_along(engine: sa.Engine, queue: JobQueue, blobs: LocalBlobs) -> None:
    _accept(engine, queue, blobs, "old")
    _finish(engine, "old")
    with engine.begin() as connection:
        connection.execute(jobs.update().values(finished_at=time.time() - 100))

    Retention(engine, queue, blobs, keep_seconds=50, keep_row_seconds=10).sweep()

    assert table.read_job(engine, "old") is None
    with engine.connect() as connection:
        assert connection.execute(sa.select(events)).all() == []
    assert queue._client.list_workflows() == []


def test_an_upload_that_never_became_a_job_goes_when_nobody_writes_to_it(
    engine: sa.Engine, queue: JobQueue, blobs: LocalBlobs
) -> None:
    _accept(engine, queue, blobs, "job")
    for orphan in ("idle", "busy"):
        blobs.upload(input_key(orphan)).commit()
    for name in ("job", "idle"):
        for path in (blobs._root / name / "input", blobs._root / name):
            os.utime(path, (time.time() - 7200,) * 2)

    Retention(engine, queue, blobs, keep_seconds=50, keep_row_seconds=10).sweep()

    assert _files(blobs) == ["busy", "job"]
