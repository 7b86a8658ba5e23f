"""The worker's side of the sandbox: keeps a warm parent, has it fork a child a job, and watches over that child."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import app
from app.errors import Problem
from app.jobs.job import Phase
from app.report import Recognised
from app.sandbox.wire import (
    Exited,
    Finished,
    Kill,
    Lines,
    Progress,
    ProtocolError,
    Ready,
    Recognition,
    Rejected,
    Request,
    send,
)

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2  # how soon a cancel is seen
_END_SECONDS = 5.0  # how long a killed child may take to be gone
# All that the warm parent and its children see of the environment: no secret, no setting of the service.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Output and report lie in the job directory."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The child says what is wrong with the file."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The child was killed because the job is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The child was killed because its time was up."""


@dataclass(frozen=True, slots=True)
class Died:
    """The child ended without an answer."""

    how: str
    out_of_memory: bool


Outcome = Succeeded | Refused | Interrupted | Overdue | Died


class Forge:
    """A warm parent and the socket to it. Used by one thread at a time."""

    def __init__(self, threads: int) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Lines | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def warm(self) -> None:
        """Have a warm parent running; a dead one is replaced."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.sandbox.forge", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=_environment(self._threads),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is the worker's business.
            )
        self._lines = Lines(ours)
        self._expect_ready()

    def close(self) -> None:
        """End the warm parent, and with it its child."""
        if self._lines is not None:
            self._lines.sock.close()
            self._lines = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(
        self,
        request: Request,
        *,
        on_phase: Callable[[Phase], object],
        on_recognised: Callable[[Recognised], object] = lambda _: None,
        unwanted: Callable[[], bool],
        seconds: float,
    ) -> Outcome:
        """Run a job in a child of its own; whatever happens, no child is left when this returns."""
        self.warm()
        assert self._lines is not None
        kills_before = _out_of_memory_kills()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                try:
                    send(self._lines.sock, request, theirs.fileno())
                except OSError:  # The warm parent died since it was looked at.
                    self.close()
                    return Died(_how(None), out_of_memory=False)
            outcome = self._watch(Lines(ours), on_phase, on_recognised, unwanted, time.monotonic() + seconds)
        code = self._end()
        if outcome is not None:
            return outcome
        return Died(_how(code), out_of_memory=code == -signal.SIGKILL and _out_of_memory_kills() > kills_before)

    def _watch(
        self,
        channel: Lines,
        on_phase: Callable[[Phase], object],
        on_recognised: Callable[[Recognised], object],
        unwanted: Callable[[], bool],
        deadline: float,
    ) -> Outcome | None:
        """Follow the child until it answers or must go; None if it ends without an answer."""
        while True:
            if time.monotonic() > deadline:
                return Overdue()
            if unwanted():
                return Interrupted()
            if not select.select([channel.sock], [], [], _LOOK_SECONDS)[0]:
                continue
            try:
                messages = channel.read()
            except ProtocolError:
                return None
            for message in messages:
                match message:
                    case Progress(phase=phase):
                        on_phase(phase)
                    case Recognition(recognised=recognised):
                        on_recognised(recognised)
                    case Finished():
                        return Succeeded()
                    case Rejected(problem=problem):
                        return Refused(problem)
                    case _:
                        return None
            if channel.closed:
                return None

    def _end(self) -> int | None:
        """Make sure that the child is gone and return its exit code; None if the warm parent is gone as well."""
        assert self._lines is not None
        try:
            # After an answer it has nothing left to do; before one it is unwanted or dead.
            if not self._lines.pending and not select.select([self._lines.sock], [], [], 0.05)[0]:
                send(self._lines.sock, Kill())
            deadline = time.monotonic() + _END_SECONDS
            while time.monotonic() < deadline and not self._lines.closed:
                if select.select([self._lines.sock], [], [], _LOOK_SECONDS)[0]:
                    for message in self._lines.read():
                        if isinstance(message, Exited):
                            return message.code
        except (OSError, ProtocolError):
            pass
        self.close()
        return None

    def _expect_ready(self) -> None:
        assert self._lines is not None
        if select.select([self._lines.sock], [], [], _START_SECONDS)[0]:
            for message in self._lines.read():
                if isinstance(message, Ready):
                    return
        self.close()
        raise ForgeBroken("The warm parent did not start; its own words are above.")


class ForgeBroken(Exception):
    """No child can be made on this machine: a broken installation, not a broken job."""


def _environment(threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    source = str(Path(app.__file__).resolve().parent.parent)
    # Libraries below numpy start threads when they are imported, and a process with threads can't fork safely.
    # Threads that wait must not spin: where others want the cores, too, a job would take many times as long.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return kept | quiet | {"PYTHONPATH": source, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _how(code: int | None) -> str:
    if code is None:
        return "its parent process ended"
    if code < 0:
        return f"signal {signal.Signals(-code).name}" if -code in list(signal.Signals) else f"signal {-code}"
    return f"exit code {code}"


def _out_of_memory_kills() -> int:
    """How often the kernel's out-of-memory killer struck on this machine since it started."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
