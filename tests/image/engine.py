"""A Docker engine: the one that answers, or a private one for as long as it is needed."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 60
_STOP_SECONDS = 60
_DISK_BYTES = 64 << 30  # as it fills, and no more, it takes room
# What was built is kept until the end, however small the engine finds its disk.
_SETTINGS = {"builder": {"gc": {"enabled": False}}}


class NoEngine(Exception):
    """There is none, and none can be started; the text says why."""


class DockerFailed(Exception):
    """A command of the client failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A client and the address of its engine."""

    client: str
    environment: dict[str, str]

    def docker(self, *arguments: object, timeout: float = 900, stdin: bytes | None = None) -> str:
        """Standard output of the command. Raises DockerFailed."""
        command = [self.client, *map(str, arguments)]
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, timeout=timeout, check=False, **given
        )
        if ended.returncode != 0:
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise DockerFailed(f"docker {' '.join(command[1:3])}: {said[-1500:]}")
        return ended.stdout.decode(errors="replace").strip()

    def answers(self) -> bool:
        try:
            return bool(self.docker("version", "--format", "{{.Server.Version}}", timeout=20))
        except (DockerFailed, subprocess.TimeoutExpired):
            return False


@contextmanager
def an_engine() -> Iterator[Engine]:
    """Raises NoEngine."""
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    engine = Engine(_client(environment), environment)
    if engine.answers():
        yield engine
        return
    with tempfile.TemporaryDirectory(prefix="fusebox-engine-", ignore_cleanup_errors=True) as place:
        address = {"DOCKER_HOST": f"unix://{place}/engine.sock"}
        with _disk(Path(place)) as data:
            yield from _private(Engine(engine.client, environment | address), Path(place), data)


def _client(environment: dict[str, str]) -> str:
    """The first one in PATH that can build: some come without the plug-in that does."""
    named = os.environ.get("DOCKER")
    found = (
        [named] if named else [f"{place}/docker" for place in os.get_exec_path() if os.path.exists(f"{place}/docker")]
    )
    for client in found:
        tried = subprocess.run([client, "build", "--help"], env=environment, capture_output=True, check=False)
        if tried.returncode == 0:
            return client
    raise NoEngine("no docker client that can build with BuildKit is in PATH (Debian's package is docker.io)")


@contextmanager
def _disk(place: Path) -> Iterator[Path]:
    """A directory on a file system of its own, where one can be mounted: it goes at once, and not file by file."""
    data, disk = place / "data", place / "disk"
    data.mkdir()
    with disk.open("wb") as file:
        file.truncate(_DISK_BYTES)
    for command in (["mkfs.ext4", "-q", "-O", "^has_journal", disk], ["mount", "-o", "loop,noatime", disk, data]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
            break
    try:
        yield data
    finally:
        for line in reversed(Path("/proc/mounts").read_text(encoding="utf-8").splitlines()):
            if line.split()[1].startswith(f"{place}/"):
                subprocess.run(["umount", line.split()[1]], check=False)


def _private(engine: Engine, place: Path, data: Path) -> Iterator[Engine]:
    daemon = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if daemon is None:
        raise NoEngine("no Docker engine answers, and there is no dockerd to start")
    if os.getuid() != 0:
        raise NoEngine("no Docker engine answers, and only root can start one")
    (place / "settings").write_text(json.dumps(_SETTINGS), encoding="ascii")
    own = ["--data-root", data, "--exec-root", place / "exec", "--pidfile", place / "pid"]
    own += ["--config-file", place / "settings"]
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [daemon, *own, "-H", engine.environment["DOCKER_HOST"]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for(engine, process, log)
        yield engine
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _wait_for(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not engine.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoEngine(f"dockerd did not start: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.5)
