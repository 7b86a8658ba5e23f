"""A real `fusebox serve` on loopback, driven from outside: HTTP, signals and what /proc tells."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.sandbox.asking import MODE

_ROOT = Path(__file__).resolve().parent.parent.parent


class Server:
    """The service in a data directory of its own; it may be killed and started again."""

    def __init__(self, data_dir: Path, role: str, settings: dict[str, str]) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self._role = role
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, answering: str | None = None) -> None:
        """Return when this path is answered with 200; without one, when the role is ready."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
        quick = {"FUSEBOX_DEAD_AFTER_SECONDS": "3", "FUSEBOX_HEARTBEAT_SECONDS": "0.5", "FUSEBOX_MIN_FREE_BYTES": "1"}
        quick["FUSEBOX_SANDBOX"] = MODE
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", self._role, "--port", str(self.port), "--data-dir", str(self.data_dir)],
                cwd=_ROOT,
                env=plain | quick | self._settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        path = answering or ("/readyz" if self._role == "serve" else "/livez")
        self.until(lambda: self._answers(path), seconds=90)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """SIGTERM, as an init system does; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(40)

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def role(self, name: str) -> int:
        """Pid of `app api` or `app worker` below the supervisor."""
        return self.one(lambda: [pid for pid in children(self.pid) if name in command(pid).split("\0")])

    def warm_parent(self) -> int:
        worker = self.role("worker")
        return self.one(lambda: [pid for pid in children(worker) if _forges(pid, "jobs")])

    def looking_parent(self) -> int:
        """The other one, which is there once a file was looked at beside a job."""
        worker = self.role("worker")
        return self.one(lambda: [pid for pid in children(worker) if _forges(pid, "looks")])

    def stopped_child(self) -> int:
        """The child of the running job, caught at work and stopped, so that it stays at work."""
        warm = self.warm_parent()
        child = self.one(lambda: [pid for pid in children(warm) if _works_on_a_job(pid)])
        os.kill(child, signal.SIGSTOP)
        return child

    def upload(self, path: Path, **form: str) -> str:
        """Upload a file and return the job's id."""
        with path.open("rb") as file:
            answer = self.http.post("/fuse", files={"model": (path.name, file)}, data=form)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str, wait: float = 0) -> dict[str, object]:
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait}, timeout=wait + 10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def say(self, *pieces: bytes, pause: float = 0, source: str = "127.0.0.1") -> bytes:
        """Send these bytes over a connection of their own; all that is answered until the service closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(source, 0)) as connection:
            answer = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
                while more := connection.recv(65536):
                    answer += more
            except ConnectionError:
                pass
            return answer

    def blobs(self) -> set[str]:
        root = self.data_dir / "blobs"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def until(self, true: Callable[[], object], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not in {seconds} s; the log ends with\n{self.log.read_text()[-3000:]}"
            time.sleep(0.01)

    def one(self, find: Callable[[], list[int]]) -> int:
        self.until(lambda: len(find()) == 1)
        return find()[0]

    def _answers(self, path: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            return False


def _forges(pid: int, purpose: str) -> bool:
    return {"app.sandbox.forge", purpose} <= set(command(pid).split("\0"))


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _works_on_a_job(pid: int) -> bool:
    """A child that is confined, alive, and none of those that prove it when the worker starts."""
    try:
        directory = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return directory.name == "work" and directory.parent.name != "proof"


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for the tests that leave it well."""
    running = Server(tmp_path_factory.mktemp("shared") / "data", "serve", {})
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def api_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start an API without a worker, with these settings, for the tests of one file."""
    started: list[Server] = []

    def start(**settings: object) -> Server:
        given = {f"FUSEBOX_{name.upper()}": str(value) for name, value in settings.items()}
        one = Server(tmp_path_factory.mktemp("alone") / "data", "api", given)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a service of the test's own with these settings: `serve(job_timeout_seconds=1)`."""
    started: list[Server] = []

    def start(role: str = "serve", **settings: object) -> Server:
        given = {f"FUSEBOX_{name.upper()}": str(value) for name, value in settings.items()}
        one = Server(tmp_path / f"data{len(started)}", role, given)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.close()
