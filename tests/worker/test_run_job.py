"""A worker's part in a job, with the real sandbox, SQLite and local blobs."""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from app.devices.choice import Device
from app.jobs import table
from app.jobs.database import open_database
from app.jobs.job import Input, Job
from app.jobs.schema import create_tables, jobs
from app.options import FuseOptions
from app.report import Report
from app.sandbox.supervisor import Forge
from app.storage import LocalBlobs, input_key, probe_key
from app.worker.device import DeviceLost, DeviceWatch
from app.worker.run_job import Bench, run_job
from tests.devices.gpus import BROKEN, DEVICE, FOUND
from tests.sandbox.asking import MODE


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge(threads=1) as warm:
        yield warm


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    create_tables(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def bench(engine: sa.Engine, forge: Forge, tmp_path: Path) -> Bench:
    return Bench(
        engine=engine,
        blobs=LocalBlobs(tmp_path / "blobs"),
        forge=forge,
        worker="w",
        work_dir=tmp_path / "work",
        watch=DeviceWatch(Device("cpu")),
        timeout_seconds=60,
        max_deaths=2,
        memory=4 << 30,
        threads=1,
        sandbox=MODE,
    )


def _accept(bench: Bench, content: bytes, job_id: str = "a", **options: object) -> str:
    upload = bench.blobs.upload(input_key(job_id))
    upload.write(content)
    upload.commit()
    source = Input("yolov7.pt", len(content), hashlib.sha256(content).hexdigest(), input_key(job_id))
    with bench.engine.begin() as connection:
        table.insert_job(connection, job_id, FuseOptions.model_validate(options), source)
    return job_id


def _accept_with_probe(bench: Bench, content: bytes, probe: bytes) -> str:
    for key, part in ((input_key("a"), content), (probe_key("a"), probe)):
        upload = bench.blobs.upload(key)
        upload.write(part)
        upload.commit()
    source = Input("net.pt", len(content), hashlib.sha256(content).hexdigest(), input_key("a"))
    given = Input("x.npy", len(probe), hashlib.sha256(probe).hexdigest(), probe_key("a"))
    with bench.engine.begin() as connection:
        table.insert_job(connection, "a", FuseOptions(), source, probe=given)
    return "a"


def _read(bench: Bench, job_id: str) -> Job:
    job = table.read_job(bench.engine, job_id)
    assert job is not None
    return job


def test_a_checkpoint_is_fused_published_and_cleaned_up_after(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes())

    run_job(bench, job_id)

    job = _read(bench, job_id)
    assert job.output is not None, job.problem
    fused = b"".join(bench.blobs.read(job.output.model_key, 0, 1 << 40))
    assert (len(fused), hashlib.sha256(fused).hexdigest()) == (job.output.bytes, job.output.sha256)
    assert job.output.filename == "yolov7.fused.pt"
    assert list((bench.work_dir / "w").iterdir()) == []


def test_the_callers_inputs_reach_the_child(bench: Bench, checkpoint: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((1, 3, 64, 96), np.float32))
    job_id = _accept_with_probe(bench, checkpoint.read_bytes(), (tmp_path / "x.npy").read_bytes())

    run_job(bench, job_id)

    job = _read(bench, job_id)
    assert job.output is not None, job.problem
    report = Report.model_validate_json(b"".join(bench.blobs.read(job.output.report_key, 0, 1 << 40)))
    assert report.equivalence is not None
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == ((1, 3, 64, 96),)


@pytest.mark.parametrize("probe", [b"notes", b"\x93NUMPY\x02\0\xff\xff\xff\x7f{}", b"PK\x03\x04" + bytes(100)])
def test_inputs_that_are_none_fail_the_job_with_their_own_problem(bench: Bench, checkpoint: Path, probe: bytes) -> None:
    job_id = _accept_with_probe(bench, checkpoint.read_bytes(), probe)

    run_job(bench, job_id)

    problem = _read(bench, job_id).problem
    assert problem is not None
    assert (problem.code, problem.status) == ("invalid-probe", 422)
    assert problem.remedy


def test_the_same_job_gives_the_same_bytes(bench: Bench, checkpoint: Path) -> None:
    jobs = [_accept(bench, checkpoint.read_bytes(), name) for name in ("a", "b")]

    for job_id in jobs:
        run_job(bench, job_id)

    first, second = (_read(bench, job_id).output for job_id in jobs)
    assert first is not None
    assert second is not None
    assert first.sha256 == second.sha256


def test_an_error_limit_that_no_rounding_meets_fails_with_the_figures(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes(), max_error=1e-300)

    run_job(bench, job_id)

    job = _read(bench, job_id)
    assert job.state == "failed"
    assert job.problem is not None
    assert job.problem.code == "not-equivalent"
    assert job.output is None


@pytest.mark.parametrize(
    "content", [b"notes", b"PK\x03\x04" + bytes(100), b"\x80\x02}q\x00.", b"\x80\x04\x95" + bytes(30)]
)
def test_a_bad_file_fails_with_its_problem_and_is_tried_once(bench: Bench, content: bytes) -> None:
    job_id = _accept(bench, content)

    run_job(bench, job_id)

    job = _read(bench, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.problem is not None
    assert 400 <= job.problem.status < 500
    assert job.problem.remedy


def test_a_job_whose_upload_is_gone_says_so(bench: Bench) -> None:
    job_id = _accept(bench, b"x")
    bench.blobs.delete_prefix("a/")

    run_job(bench, job_id)

    problem = _read(bench, job_id).problem
    assert problem is not None
    assert problem.code == "job-expired"


def test_a_job_with_an_option_that_only_a_newer_version_has_fails_with_its_name(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes())
    with bench.engine.begin() as connection:
        connection.execute(jobs.update().values(options={"turbo": 9}))

    run_job(bench, job_id)

    job = _read(bench, job_id)
    assert job.problem is not None
    assert (job.state, job.problem.code, job.problem.facts) == ("failed", "invalid-option", {"unknown": ["turbo"]})
    assert "turbo" in job.problem.detail


def test_a_canceled_job_is_not_begun(bench: Bench) -> None:
    job_id = _accept(bench, b"x")
    table.cancel(bench.engine, job_id)

    run_job(bench, job_id)

    assert _read(bench, job_id).attempt == 0


def test_a_disk_without_room_for_the_job_fails_it_with_that_reason(bench: Bench) -> None:
    class Full(LocalBlobs):
        def place(self, key: str, path: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    job_id = _accept(bench, b"x")

    run_job(replace(bench, blobs=Full(bench.work_dir)), job_id)

    problem = _read(bench, job_id).problem
    assert problem is not None
    assert problem.code == "disk-full"


# On a machine without a GPU, a child that is to use one finds none: as if it had fallen off the bus.
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_a_fault_of_a_device_that_works_else_is_tried_again_and_then_told(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes())
    watch = DeviceWatch(DEVICE, look=lambda index: FOUND)

    run_job(replace(bench, watch=watch), job_id)

    job = _read(bench, job_id)
    assert job.problem is not None
    assert (job.problem.code, job.problem.facts["reason"], job.attempt) == ("device-unusable", "unavailable", 2)
    assert watch.health.state == "ok"  # one job alone is no sick device


@without_gpu
def test_a_device_that_does_not_work_any_more_costs_the_job_one_attempt(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes())
    watch = DeviceWatch(DEVICE, look=lambda index: BROKEN)

    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        run_job(replace(bench, watch=watch), job_id)

    assert (_read(bench, job_id).state, _read(bench, job_id).attempt) == ("queued", 1)
    assert (watch.health.state, watch.health.error) == ("failed", "gpu-broken")
    # Another worker takes it.
    run_job(replace(bench, worker="other"), job_id)
    assert (_read(bench, job_id).state, _read(bench, job_id).attempt) == ("succeeded", 2)


def test_a_child_that_speaks_of_a_gpu_where_there_is_none_is_one_that_died(bench: Bench, checkpoint: Path) -> None:
    job_id = _accept(bench, checkpoint.read_bytes())

    with Forge(1, program="tests.sandbox.faulty", purpose="assert") as faulty:
        run_job(replace(bench, forge=faulty), job_id)

    problem = _read(bench, job_id).problem
    assert problem is not None
    assert (problem.code, "a GPU that it does not have" in problem.detail) == ("worker-crashed", True)
    assert bench.watch.health.state == "ok"
