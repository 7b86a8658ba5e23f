"""A look at a file whose job waits, with the real sandbox, SQLite and local blobs."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.devices.choice import Device
from app.jobs import table
from app.jobs.database import open_database
from app.jobs.job import Input, Job
from app.jobs.schema import create_tables
from app.options import FuseOptions
from app.sandbox.supervisor import Forge
from app.storage import LocalBlobs, input_key
from app.worker.device import DeviceWatch
from app.worker.look import Looker
from app.worker.run_job import Bench, run_job
from tests.sandbox.asking import MODE


@pytest.fixture(scope="module")
def forges() -> Iterator[tuple[Forge, Forge]]:
    with Forge(threads=1) as first, Forge(threads=1) as second:
        yield first, second


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    create_tables(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def looker(engine: sa.Engine, forges: tuple[Forge, Forge], tmp_path: Path) -> Looker:
    bench = Bench(
        engine=engine,
        blobs=LocalBlobs(tmp_path / "blobs"),
        forge=forges[0],
        worker="w",
        work_dir=tmp_path / "work",
        watch=DeviceWatch(Device("cpu")),
        timeout_seconds=60,
        max_deaths=2,
        memory=4 << 30,
        threads=1,
        sandbox=MODE,
    )
    return Looker(bench, forges[1])


def _accept(looker: Looker, content: bytes, job_id: str = "a", **options: object) -> None:
    upload = looker.bench.blobs.upload(input_key(job_id))
    upload.write(content)
    upload.commit()
    source = Input("yolov7.pt", len(content), hashlib.sha256(content).hexdigest(), input_key(job_id))
    with looker.bench.engine.begin() as connection:
        table.insert_job(connection, job_id, FuseOptions.model_validate(options), source)


def _read(looker: Looker, job_id: str = "a") -> Job:
    job = table.read_job(looker.bench.engine, job_id)
    assert job is not None
    return job


def test_a_waiting_file_is_recognised_and_its_job_is_fused_all_the_same(looker: Looker, checkpoint: Path) -> None:
    _accept(looker, checkpoint.read_bytes())

    assert looker.look_once()

    job = _read(looker)
    assert job.state == "queued"
    assert job.recognised is not None
    assert (job.recognised.family, job.recognised.source) == ("YOLOv7", "ema")
    assert job.recognised.classes is not None
    assert list((looker.bench.work_dir / "w").iterdir()) == []
    assert not looker.look_once()
    run_job(looker.bench, "a")
    assert _read(looker).state == "succeeded"
    assert _read(looker).recognised == job.recognised


def test_it_is_looked_at_while_another_job_runs(looker: Looker, checkpoint: Path) -> None:
    _accept(looker, checkpoint.read_bytes(), "a")
    _accept(looker, checkpoint.read_bytes(), "b")
    running = threading.Thread(target=run_job, args=(looker.bench, "a"))
    running.start()
    while _read(looker, "a").state != "running":
        time.sleep(0.01)

    looker.look_once()

    running.join()
    assert _read(looker, "b").recognised is not None
    assert _read(looker, "a").state == "succeeded"


@pytest.mark.parametrize("content", [b"notes", b"PK\x03\x04" + bytes(100), b"\x80\x04\x95" + bytes(30)])
def test_a_file_that_is_none_is_looked_at_once_and_its_job_tells_the_problem(looker: Looker, content: bytes) -> None:
    _accept(looker, content)

    assert looker.look_once()

    assert (_read(looker).state, _read(looker).recognised, _read(looker).problem) == ("queued", None, None)
    assert not looker.look_once()
    run_job(looker.bench, "a")
    assert _read(looker).state == "failed"


def test_an_upload_that_is_gone_changes_nothing(looker: Looker, checkpoint: Path) -> None:
    _accept(looker, checkpoint.read_bytes())
    looker.bench.blobs.delete_prefix("a/")

    assert looker.look_once()

    assert _read(looker).state == "queued"


@pytest.mark.parametrize("whole", [False, True], ids=["the child", "its warm parent"])
def test_a_look_that_is_killed_leaves_the_job_to_be_fused(looker: Looker, checkpoint: Path, whole: bool) -> None:
    _accept(looker, checkpoint.read_bytes())
    looker.forge.warm()
    parent = looker.forge.pid
    assert parent is not None

    def kill() -> None:
        while not (found := Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            time.sleep(0.001)
        os.kill(parent if whole else int(found[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert looker.look_once()
    killer.join()

    assert _read(looker).state == "queued"
    run_job(looker.bench, "a")
    assert _read(looker).state == "succeeded"
    _accept(looker, checkpoint.read_bytes(), "b")
    assert looker.look_once()
    assert _read(looker, "b").recognised is not None


def test_a_look_ends_when_the_turn_of_its_job_comes(looker: Looker, checkpoint: Path) -> None:
    _accept(looker, checkpoint.read_bytes())
    looker.forge.warm()
    parent = looker.forge.pid
    assert parent is not None

    def stop() -> None:
        while not (found := Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            time.sleep(0.001)
        os.kill(int(found[0]), signal.SIGSTOP)
        table.claim_job(looker.bench.engine, "a", "another")

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert looker.look_once()
    stopper.join()

    assert (_read(looker).state, _read(looker).worker) == ("running", "another")
