"""`fusebox health` beside a running service, as a container engine asks."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Server

_ROOT = Path(__file__).resolve().parent.parent.parent
_NAMES = {"FUSEBOX_ALLOWED_HOSTS": "fuse.example.org"}


def _health(server: Server, *role: str) -> tuple[int, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    own = {"FUSEBOX_PORT": str(server.port), "FUSEBOX_DATA_DIR": str(server.data_dir), **_NAMES}
    command = [sys.executable, "-m", "app", "health", *role]
    ended = subprocess.run(command, cwd=_ROOT, env=plain | own, capture_output=True, text=True, check=False, timeout=60)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


def test_health_follows_the_service_and_its_worker(serve: Callable[..., Server]) -> None:
    server = serve(allowed_hosts=_NAMES["FUSEBOX_ALLOWED_HOSTS"])

    code, said = _health(server)
    assert (code, '"ready":true' in said) == (0, True), said
    assert _health(server, "api") == (0, "ok\n")
    assert _health(server, "worker")[0] == 0

    assert server.stop() == 0

    for role in ((), ("api",), ("worker",)):
        assert _health(server, *role)[0] == 1, role
    assert "Connection refused" in _health(server)[1]
    assert "no worker of" in _health(server, "worker")[1]


@pytest.mark.parametrize("role", ["serve", "api", "worker"])
def test_where_nothing_runs_nothing_is_well(role: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", role, {})

    assert _health(server, role)[0] == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://fusebox:hunter2@127.0.0.1:9/fusebox", "onnection refused"),
        ("postgresql://fusebox:hunter2@host:port/x", "can't be asked"),
        ("sqlite:////proc/nowhere/fusebox.sqlite", "asked: there is none at /proc/nowhere/fusebox.sqlite"),
        ("sqlite:////dev/null", "the database can't be asked"),
    ],
)
def test_a_worker_whose_database_can_not_be_asked_is_not_well_and_the_reason_is_told(
    url: str, said: str, tmp_path: Path
) -> None:
    own = {"FUSEBOX_DATABASE_URL": url, "FUSEBOX_DATA_DIR": str(tmp_path / "data")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    command = [sys.executable, "-m", "app", "health", "worker"]

    ended = subprocess.run(command, cwd=_ROOT, env=plain | own, capture_output=True, text=True, check=False, timeout=60)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert said in ended.stdout
    assert ended.stdout.count("\n") == 1
    assert "hunter2" not in ended.stdout
    assert not (tmp_path / "data").exists(), "who asks makes nothing"
