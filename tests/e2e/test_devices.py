"""A service and its devices: the line at the start, the refusal, and a GPU that fails for good while it works."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sandbox.asking import MODE

_ROOT = Path(__file__).resolve().parent.parent.parent
Serve = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def _environment(data_dir: Path, **settings: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    quick = {"DEAD_AFTER_SECONDS": "3", "HEARTBEAT_SECONDS": "0.3", "MIN_FREE_BYTES": "1", "SANDBOX": MODE}
    return plain | {f"FUSEBOX_{name}": value for name, value in (quick | settings).items()} | {
        "FUSEBOX_DATA_DIR": str(data_dir)
    }  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker: `start(data_dir, "app", "worker", DEVICE="cuda")`. Its words go to `worker.log`."""
    started: list[subprocess.Popen[str]] = []

    def begin(data_dir: Path, *program: str, **settings: str) -> "subprocess.Popen[str]":
        with (tmp_path / "worker.log").open("a") as log:
            command = [sys.executable, "-m", *program]
            environment = _environment(data_dir, **settings)
            started.append(subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=log, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def _events(log: Path, name: str) -> list[dict[str, Any]]:
    found = (line[line.index("{") :] for line in log.read_text().splitlines() if f'"event": "{name}"' in line)
    return [json.loads(one) for one in found]


def _until(true: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def test_a_worker_says_in_one_line_what_it_works_with(server: Any) -> None:
    (ready,) = _until(lambda: _events(server.log, "worker.ready"))

    assert ready["device"] == "cpu (no NVIDIA device visible)"
    assert ready["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert (ready["sandbox"], ready["data_dir"]) == ("full", str(server.data_dir))
    assert ready["version"]
    (device,) = server.http.get("/readyz").json()["devices"]
    assert (device["device"], device["state"], device["error"]) == ("cpu", "ok", None)


def test_a_worker_that_is_to_have_a_gpu_and_finds_none_does_not_start(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app", "worker"],
        cwd=_ROOT,
        env=_environment(tmp_path / "data", DEVICE="cuda:1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("fusebox: device-unusable: no-gpu: FUSEBOX_DEVICE is 'cuda:1', and ")
    assert "FUSEBOX_DEVICE=cpu" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_that_waits_for_its_gpu_is_seen_and_takes_no_jobs(serve: Serve, start: Start) -> None:
    api = serve(role="api")
    waiting = start(api.data_dir, "app", "worker", "--wait-for-device", DEVICE="cuda")

    health = _until(lambda: (one := api.http.get("/readyz").json())["devices"] and one)
    assert (health["ready"], health["checks"]["worker"]) == (False, "failed: NoWorkingDevice")
    (device,) = health["devices"]
    assert (device["device"], device["state"], device["error"]) == ("cuda", "failed", "no-gpu")
    (refused,) = health["refused"]
    assert (refused["device"], refused["code"], refused["reason"]) == ("cuda", "device-unusable", "no-gpu")
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(20) == 0
    assert _until(lambda: api.http.get("/readyz").json()["checks"]["worker"] == "failed: NoLiveWorker")


def test_a_gpu_that_is_lost_costs_an_attempt_and_its_worker_waits_while_another_does_the_job(
    serve: Serve, start: Start, tmp_path: Path
) -> None:
    api = serve(role="api")
    for channels in (3, 7):
        layers = torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3), torch.nn.BatchNorm2d(4))
        torch.save(layers.eval(), tmp_path / f"{channels}.pt")
    worker = start(api.data_dir, "tests.e2e.gpu_double", "worker", DEVICE="auto")
    log = tmp_path / "worker.log"
    (ready,) = _until(lambda: _events(log, "worker.ready"))
    assert (ready["device"], ready["gpu"], ready["capability"], ready["driver"]) == (
        *("cuda:0", "NVIDIA L4", "8.9", "580.95.05"),
    )
    good = api.job(api.upload(tmp_path / "3.pt"), wait=60)
    report = api.http.get(f"/v1/jobs/{good['id']}/report").json()
    assert (good["state"], report["environment"]["device"]) == ("succeeded", "cuda:0")

    poison = api.upload(tmp_path / "7.pt")

    # The same process, a new worker: the one before is gone with what it held.
    _until(lambda: "--wait-for-device" in Path(f"/proc/{worker.pid}/cmdline").read_text())
    failed = _until(lambda: [one for one in api.http.get("/readyz").json()["devices"] if one["state"] == "failed"])
    assert (failed[0]["device"], failed[0]["error"]) == ("cuda:0", "no-gpu")
    assert worker.poll() is None
    assert _events(log, "job.device_failed")[0]["fault"] == "launch-failed"
    _until(lambda: api.job(poison)["state"] == "queued")
    start(api.data_dir, "app", "worker", DEVICE="cpu")
    done = api.job(poison, wait=90)
    assert (done["state"], done["attempts"]) == ("succeeded", 2)
    health = api.http.get("/readyz").json()
    assert (health["ready"], sorted(one["state"] for one in health["devices"])) == (True, ["failed", "ok"])
