"""Why a worker does not start, as an operator finds it who has curl and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from tests.e2e.conftest import Server

_ROOT = Path(__file__).resolve().parent.parent.parent

# From here on, the kernel has no Landlock for this process and all that it starts.
_WITHOUT_LANDLOCK = """
import os, sys
from app.sandbox.kernel.bpf import ALLOW, Filter, assemble, refuse
from app.sandbox.kernel.seccomp import architecture, install
from app.sandbox.kernel.system import prctl
prctl(38, 1)
install(assemble(Filter(architecture().audit, {444: refuse(1)}, {}, ALLOW, ALLOW, 1 << 30)))
os.execv(sys.executable, [sys.executable, "-m", "app", "worker"])
"""


def _run(data_dir: Path, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    own = {f"FUSEBOX_{name}": value for name, value in {"DATA_DIR": str(data_dir), **settings}.items()}
    return subprocess.run(
        [sys.executable, *command], cwd=_ROOT, env=plain | own, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Server]:
    """A whole service that is to have a GPU where there is none."""
    server = Server(tmp_path / "data", "serve", {"FUSEBOX_DEVICE": "cuda"})
    server.start(answering="/livez")
    yield server
    server.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_service_without_its_gpu_says_so_where_it_is_asked_and_forgets_it_when_a_worker_works(
    refusing: Server, serve: Callable[..., Any], tmp_path: Path
) -> None:
    refusing.until(lambda: refusing.http.get("/readyz").json()["refused"], seconds=90)

    answer = refusing.http.get("/readyz")
    health = answer.json()
    assert (answer.status_code, health["checks"]["worker"]) == (503, "failed: NoLiveWorker")
    (why,) = health["refused"]
    assert (why["device"], why["code"], why["reason"]) == ("cuda", "device-unusable", "no-gpu")
    assert why["detail"].startswith("no-gpu: FUSEBOX_DEVICE is 'cuda', and there is no GPU to use")
    assert why["remedy"].endswith("FUSEBOX_DEVICE=cpu.")
    beside = _run(refusing.data_dir, "-m", "app", "health", PORT=str(refusing.port))
    assert (beside.returncode, "FUSEBOX_DEVICE=cpu." in beside.stdout) == (1, True)
    of_worker = _run(refusing.data_dir, "-m", "app", "health", "worker")
    assert of_worker.returncode == 1
    assert "device-unusable: no-gpu: FUSEBOX_DEVICE is 'cuda'" in of_worker.stdout
    # The API goes on, and the pause grows.
    refusing.until(lambda: refusing.log.read_text().count("serve.died role=worker code=2") >= 2, seconds=60)
    assert "role=worker code=2 again_in=4.0" in refusing.log.read_text()
    assert refusing.stop() == 0

    well = Server(refusing.data_dir, "serve", {"FUSEBOX_DEVICE": "cpu"})
    try:
        well.start()
        assert well.http.get("/readyz").json()["refused"] == []
    finally:
        well.close()


def test_a_worker_that_the_kernel_does_not_confine_says_so_too(serve: Callable[..., Any]) -> None:
    api = serve(role="api")

    ended = _run(api.data_dir, "-c", _WITHOUT_LANDLOCK)

    assert ended.returncode == 2
    health = api.http.get("/readyz").json()
    (why,) = health["refused"]
    assert (health["ready"], why["code"], why["reason"]) == (False, "not-confined", "no-landlock")
    assert "Landlock can't be used here (Operation not permitted)" in why["detail"]
    assert "seccomp profile" in why["remedy"]
    assert str(api.data_dir) not in str(why)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_in_a_fleet_every_api_knows_of_it_until_a_worker_works(
    serve: Callable[..., Any], postgres: str, tmp_path: Path
) -> None:
    engine = sa.create_engine(f"{postgres}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE refusing"))
    engine.dispose()
    fleet = {"database_url": f"{postgres}/refusing", "blob_url": (tmp_path / "blobs").as_uri()}
    apis = [serve(role="api", **fleet) for _ in range(2)]

    ended = _run(tmp_path / "worker", "-m", "app", "worker", DEVICE="cuda:1", DATABASE_URL=fleet["database_url"])

    assert ended.returncode == 2
    for api in apis:
        (why,) = api.http.get("/readyz").json()["refused"]
        assert (why["device"], why["reason"]) == ("cuda:1", "no-gpu")
    well = serve(device="cpu", **fleet)
    assert well.http.get("/readyz").json()["refused"] == []
    for api in apis:
        api.until(lambda api=api: api.http.get("/readyz").json()["ready"])
        assert api.http.get("/readyz").json()["refused"] == []


def test_a_refusal_is_told_also_where_the_database_can_not_be_reached(tmp_path: Path) -> None:
    url = "postgresql://fusebox:hunter2@127.0.0.1:9/fusebox"

    ended = _run(tmp_path, "-m", "app", "worker", DEVICE="cuda:7", DATABASE_URL=url)

    assert ended.returncode == 2
    assert "fusebox: device-unusable: no" in ended.stderr
    assert "worker.refusal_not_told cause=the database can't be used" in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr
