"""A container under the strictest ordinary terms, and curl as its caller."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.building import image
from tests.image.engine import DockerFailed, Engine

STRICT = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
_PATIENCE_SECONDS = 240
# One of our own: engines beside each other take the default bridge from one another.
_NETWORK = "fusebox-test"


@dataclass(slots=True)
class Container:
    """One that runs; `url` is where its port is published, if it is."""

    engine: Engine
    name: str
    url: str = ""
    key: str = ""

    def logs(self) -> str:
        command = [self.engine.client, "logs", self.name]
        ended = subprocess.run(
            command, env=self.engine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return ended.stdout.decode(errors="replace")

    def state(self) -> Any:
        return json.loads(self.engine.docker("inspect", "--format", "{{json .State}}", self.name))

    def execute(self, *command: str, stdin: bytes | None = None) -> str:
        return self.engine.docker("exec", "-i", self.name, *command, stdin=stdin)

    def curl(self, path: str, *arguments: object) -> str:
        """What it wrote on standard output, also where the answer is a refusal. Raises CalledProcessError."""
        key = ("-H", f"Authorization: Bearer {self.key}") if self.key else ()
        command = ["curl", "--silent", "--show-error", "--max-time", "180", *key, *map(str, arguments), self.url + path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def status(self, path: str, *arguments: object, output: object = "/dev/null") -> int:
        return int(self.curl(path, "-o", output, "-w", "%{http_code}", *arguments))

    def submit(self, path: Path) -> str:
        """The job's id."""
        return str(json.loads(self.curl("/fuse", "-F", f"model=@{path}"))["id"])

    def slow_upload(self, path: Path) -> subprocess.Popen[bytes]:
        """One that takes as long as it may; its answer comes on standard output."""
        command = ["curl", "--silent", "--limit-rate", "20k", "-H", f"Authorization: Bearer {self.key}"]
        begun = subprocess.Popen([*command, "-F", f"model=@{path}", f"{self.url}/fuse"], stdout=subprocess.PIPE)
        time.sleep(1)
        return begun

    def job(self, job_id: str) -> Any:
        return json.loads(self.curl(f"/v1/jobs/{job_id}"))

    def until(self, true: Callable[[], Any], seconds: float = _PATIENCE_SECONDS) -> Any:
        """What was true. Raises AssertionError with the container's last words."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := true():
                    return found
            except (DockerFailed, subprocess.CalledProcessError, ValueError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"not in {seconds:.0f} s; {self.logs()[-1500:]}")

    def until_healthy(self) -> None:
        """As the image's own health check finds."""
        self.until(lambda: self.state()["Health"]["Status"] == "healthy")

    def until_ready(self) -> Any:
        return self.until(lambda: (said := json.loads(self.curl("/readyz")))["ready"] and said)

    def take_the_key(self) -> str:
        """The one that the first start prints."""
        self.key = self.until(lambda: re.findall(r"Bearer (fbx_\S+?)'", self.logs()))[0]
        return self.key


@contextmanager
def a_network(engine: Engine) -> Iterator[None]:
    """What published containers are joined to."""
    if _NETWORK in engine.docker("network", "ls", "--format", "{{.Name}}").split():
        engine.docker("network", "rm", _NETWORK)
    engine.docker("network", "create", _NETWORK)
    try:
        yield
    finally:
        engine.docker("network", "rm", _NETWORK)


def volume(engine: Engine, name: str) -> str:
    """An empty one."""
    remove_volume(engine, name)
    return engine.docker("volume", "create", name)


def remove_volume(engine: Engine, name: str) -> None:
    if name in engine.docker("volume", "ls", "--quiet").split():
        engine.docker("volume", "rm", name)


@contextmanager
def running(engine: Engine, target: str, *options: object, publish: bool = True) -> Iterator[Container]:
    """The image under strict terms, removed afterwards whatever happened; not published, it has no network."""
    port = ("--network", _NETWORK, "--publish", "127.0.0.1::8000") if publish else ("--network", "none")
    name = engine.docker("run", "--detach", *STRICT, *port, *options, image(target))
    container = Container(engine, name[:12])
    try:
        if publish:
            container.until(lambda: engine.docker("port", name, "8000"), 10)
            container.url = "http://" + engine.docker("port", name, "8000").splitlines()[0]
        yield container
    finally:
        engine.docker("rm", "--force", "--volumes", name)
