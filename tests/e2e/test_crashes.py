"""kill -9 of anything: an accepted job still ends in a result or in a reasoned failure."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.conftest import children, command

Serve = Callable[..., Any]


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_jobs_survive_the_death_of_the_whole_service(serve: Serve, long_job: Path) -> None:
    server = serve()
    jobs = [server.upload(long_job) for _ in range(2)]
    child = server.stopped_child()
    roles = [server.role("api"), server.role("worker"), server.warm_parent(), child]

    server.kill()

    server.until(lambda: all(_gone(pid) for pid in roles), seconds=20)
    server.start()
    ended = [server.job(job, wait=90) for job in jobs]
    assert [job["state"] for job in ended] == ["succeeded", "succeeded"]
    assert [job["attempts"] for job in ended] == [2, 1]


def test_a_job_survives_the_death_of_worker_warm_parent_child_and_api(serve: Serve, long_job: Path) -> None:
    server = serve(max_attempts=5)
    job = server.upload(long_job)

    for victim in ("worker", "warm parent", "child"):
        child = server.stopped_child()
        pids = {"worker": server.role("worker"), "warm parent": server.warm_parent(), "child": child}
        os.kill(pids[victim], signal.SIGKILL)
        server.until(partial(_gone, child), seconds=20)
    os.kill(server.role("api"), signal.SIGKILL)
    server.until(lambda: server._answers("/livez"))

    ended = server.job(job, wait=90)
    assert (ended["state"], ended["attempts"]) == ("succeeded", 4)
    assert len([name for name in server.blobs() if name.endswith("/model")]) == 1


def test_a_job_whose_process_always_dies_fails_with_the_reason(serve: Serve, long_job: Path) -> None:
    server = serve(max_attempts=2)
    job = server.upload(long_job)

    for _ in range(2):
        child = server.stopped_child()
        os.kill(child, signal.SIGSEGV)
        os.kill(child, signal.SIGCONT)
        server.until(partial(_gone, child))

    ended = server.job(job, wait=20)
    assert ended["state"] == "failed"
    assert ended["problem"]["code"] == "worker-crashed"
    assert "SIGSEGV" in ended["problem"]["detail"]


def test_canceling_ends_the_child_within_a_second(serve: Serve, long_job: Path) -> None:
    server = serve()
    running, queued = server.upload(long_job), server.upload(long_job)
    child = server.stopped_child()

    for job in (queued, running):
        assert server.http.delete(f"/v1/jobs/{job}").json()["state"] == "canceled"

    server.until(lambda: _gone(child), seconds=1)
    assert server.http.delete(f"/v1/jobs/{running}").json()["state"] == "canceled"
    assert server.http.get(f"/v1/jobs/{running}/model").json()["code"] == "job-canceled"
    assert server.job(server.upload(long_job), wait=90)["state"] == "succeeded"
    assert server.job(queued)["attempts"] == 0
    assert not [name for name in server.blobs() if name.startswith((running, queued))]


def test_a_job_that_takes_too_long_is_killed_and_says_so(serve: Serve, long_job: Path) -> None:
    server = serve(job_timeout_seconds=1)
    job = server.upload(long_job)
    child = server.stopped_child()

    ended = server.job(job, wait=10)

    assert ended["problem"]["code"] == "timed-out"
    assert ended["attempts"] == 1
    server.until(lambda: _gone(child), seconds=1)


def test_a_stop_in_order_hands_the_job_back_uncounted(serve: Serve, long_job: Path) -> None:
    server = serve(drain_seconds=0.2, max_attempts=1)
    job = server.upload(long_job)
    child = server.stopped_child()

    assert server.stop() == 0

    server.until(lambda: _gone(child), seconds=2)
    server.start()
    assert server.job(job, wait=90)["state"] == "succeeded"


def test_a_worker_that_is_told_to_stop_before_it_is_ready_ends_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "app", "worker", "--data-dir", tmp_path / "data"], stdout=output, stderr=output
        )
    while not (forges := [pid for pid in children(worker.pid) if "app.sandbox.forge" in command(pid)]):
        assert worker.poll() is None, log.read_text()
        time.sleep(0.01)

    worker.terminate()

    assert worker.wait(20) == 0
    assert "worker.ready" not in log.read_text()
    ends = time.monotonic() + 20
    while not all(map(_gone, forges)):
        assert time.monotonic() < ends, "its children outlive it"
        time.sleep(0.01)


def test_what_is_old_goes_and_says_so(serve: Serve) -> None:
    server = serve(retention="1s", sweep_seconds=0.3)
    job = server.upload(Path(__file__))
    assert server.job(job, wait=20)["state"] == "failed"

    server.until(lambda: server.job(job)["state"] == "expired", seconds=10)

    server.until(lambda: not server.blobs())
    assert server.job(job)["problem"]["code"] == "unsupported-format"
