"""The service behind nginx as deploy/ proposes it: bodies, parts of files, events and refusals."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Server

_ROOT = Path(__file__).resolve().parent.parent.parent
_SMALL = _ROOT / "tests/data/acnet/blocks.pt"
_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(_NGINX is None, reason="nginx is not installed")


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Callable[[Server], httpx.Client]]:
    """Start nginx in front of a service; what is asked of the client goes through it."""
    running: list[subprocess.Popen[bytes]] = []
    clients: list[httpx.Client] = []

    def start(server: Server) -> httpx.Client:
        socket = tmp_path / "nginx.sock"
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(_configuration(tmp_path, socket, server.port), encoding="utf-8")
        assert _NGINX is not None
        running.append(subprocess.Popen([_NGINX, "-p", tmp_path, "-c", configuration, "-g", "daemon off;"]))
        server.until(socket.exists)
        transport = httpx.HTTPTransport(uds=str(socket))
        clients.append(httpx.Client(transport=transport, base_url="http://fusebox.example.org", timeout=60))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
    for nginx in running:
        nginx.terminate()
        nginx.wait(20)


def _configuration(place: Path, socket: Path, port: int) -> str:
    """The file of deploy/ with this test's addresses, and without TLS."""
    written = (_ROOT / "deploy/proxy/nginx.conf").read_text(encoding="utf-8")
    for theirs, ours in (("127.0.0.1:8000", f"127.0.0.1:{port}"), ("listen 443 ssl", f"listen unix:{socket}")):
        assert theirs in written
        written = written.replace(theirs, ours)
    lines = [line for line in written.splitlines() if not line.strip().startswith("ssl_")]
    paths = [f"{name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    user = f"user {os.environ.get('USER', 'root')};" if os.geteuid() == 0 else ""
    top = f"{user} pid {place}/nginx.pid; error_log {place}/error.log; events {{}}"
    return "\n".join([top, "http {", f"access_log {place}/access.log;", *paths, *lines, "}"])


def test_a_model_goes_in_and_comes_out_whole_and_in_parts(serve: Callable[..., Server], behind: Callable) -> None:
    server = serve(trusted_proxies="127.0.0.1", public_url="https://fusebox.example.org")
    http = behind(server)
    with _SMALL.open("rb") as file:
        job = http.post("/fuse", files={"model": ("a.pt", file)}).json()
    assert job["next"].endswith("'https://fusebox.example.org/v1/jobs/" + job["id"] + "/model?wait=120'")

    whole = http.get(f"/v1/jobs/{job['id']}/model", params={"wait": 100}, timeout=110)
    part = http.get(f"/v1/jobs/{job['id']}/model", headers={"Range": "bytes=100-299"})

    assert (whole.status_code, part.status_code) == (200, 206)
    assert whole.content == server.http.get(f"/v1/jobs/{job['id']}/model").content
    assert part.content == whole.content[100:300]


def test_events_arrive_while_the_job_is_held(serve: Callable[..., Server], behind: Callable, long_job: Path) -> None:
    server = serve(trusted_proxies="127.0.0.1")
    http = behind(server)
    job_id = server.upload(long_job)
    child = server.stopped_child()

    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Host": "localhost"}) as answer:
        lines = answer.iter_lines()
        # The child stands still: what a proxy kept for itself until there is more would not come.
        assert next(line for line in lines if line.startswith("event:")) == "event: job"
        os.kill(child, signal.SIGCONT)
        assert "event: done" in lines


def test_an_upload_that_is_too_large_is_told_so_by_the_service(serve: Callable[..., Server], behind: Callable) -> None:
    server = serve("api", max_upload_bytes="1M", public_url="http://fusebox.example.org")
    http = behind(server)

    refused = http.post("/fuse", files={"model": ("a.pt", bytes(8 << 20))})

    assert refused.status_code == 413
    assert refused.json()["code"] == "too-large"


def test_a_body_is_handed_on_before_it_is_complete(serve: Callable[..., Server], behind: Callable) -> None:
    server = serve("api", public_url="http://fusebox.example.org")
    http = behind(server)

    def body() -> Iterator[bytes]:
        yield b"the first bytes"
        server.until(lambda: any("input" in path for path in server.blobs()))
        yield b" and the last"

    answer = http.put("/fuse/a.pt", content=body())

    assert answer.status_code in (202, 415, 422), answer.text


def test_what_a_caller_claims_of_himself_is_dropped(serve: Callable[..., Server], behind: Callable) -> None:
    server = serve("api", trusted_proxies="127.0.0.1", public_url="http://fusebox.example.org")
    http = behind(server)

    http.get("/v1/jobs", headers={"X-Forwarded-For": "203.0.113.9"})

    # The service believes this proxy, and its log names callers.
    server.until(lambda: "GET /v1/jobs" in server.log.read_text())
    assert "203.0.113.9" not in server.log.read_text()
