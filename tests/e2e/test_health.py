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
