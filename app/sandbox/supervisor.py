"""The worker's side of the sandbox: keeps a warm parent, has it fork a child a job, and watches over that child."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from app.devices.environment import environment
from app.jobs.job import Phase
from app.report import Recognised
from app.sandbox.hearing import Hearing
from app.sandbox.outcome import (
    Attempted,
    DeviceFailed,
    Died,
    Excessive,
    Forbidden,
    Interrupted,
    Outcome,
    Overdue,
    Refused,
    Succeeded,
)
from app.sandbox.wire import Exited, Kill, Lines, ProtocolError, Ready, Request, Trial, send

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2  # how soon a cancel is seen
_LEAVE_SECONDS = 2.0  # how long a child may take to end after its answer
_END_SECONDS = 30.0  # how long a killed child may take to be gone: the kernel has its memory to clear away


class Forge:
    """A warm parent and the socket to it. Used by one thread at a time."""

    def __init__(self, threads: int, program: str = "app.sandbox.forge", purpose: str = "jobs") -> None:
        self._program = program
        self._purpose = purpose  # seen in lists of processes
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
                [sys.executable, "-m", self._program, str(theirs.fileno()), self._purpose],
                pass_fds=[theirs.fileno()],
                env=environment(self._threads),
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
        return self._run(request, Hearing(on_phase, on_recognised), unwanted, seconds)

    def attempt(self, trial: Trial, seconds: float) -> Outcome:
        """Have a child try something. It ends in Attempted if all goes well for the child."""
        return self._run(trial, Hearing(lambda _: None, lambda _: None), lambda: False, seconds)

    def _run(self, request: Request | Trial, hearing: Hearing, unwanted: Callable[[], bool], seconds: float) -> Outcome:
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
            said = self._watch(Lines(ours), hearing, unwanted, time.monotonic() + seconds)
        return _judged(said, self._end(answered=isinstance(said, _ANSWERS)), kills_before)

    def _watch(self, channel: Lines, hearing: Hearing, unwanted: Callable[[], bool], deadline: float) -> Outcome | None:
        """Follow the child until it answers or must go; None if it ends without an answer."""
        while True:
            if time.monotonic() > deadline:
                return Overdue()
            if unwanted():
                return Interrupted()
            if not select.select([channel.sock], [], [], _LOOK_SECONDS)[0]:
                continue
            try:
                for message in channel.read():
                    if (answer := hearing.take(message)) is not None:
                        return answer
            except ProtocolError:
                return Died("it said what is no message", out_of_memory=False)
            if channel.closed:
                return None

    def _end(self, *, answered: bool) -> Exited | None:
        """Make sure that the child is gone and tell how it ended; None if the warm parent is gone as well."""
        assert self._lines is not None
        try:
            # After an answer it has nothing left to do; before one it is unwanted or dead.
            patience = _LEAVE_SECONDS if answered else 0.05
            if not self._lines.pending and not select.select([self._lines.sock], [], [], patience)[0]:
                send(self._lines.sock, Kill())
            deadline = time.monotonic() + _END_SECONDS
            while time.monotonic() < deadline and not self._lines.closed:
                if select.select([self._lines.sock], [], [], _LOOK_SECONDS)[0]:
                    for message in self._lines.read():
                        if isinstance(message, Exited):
                            return message
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
        how = self._how_it_did_not_start()
        self.close()
        raise ForgeBroken(f"the process that children are forked from did not start: {how}")

    def _how_it_did_not_start(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no word of it in {_START_SECONDS:g} seconds"
        if code == -signal.SIGKILL:
            return "it was killed, as happens where there is too little memory: 512 MB are the least"
        return f"{_how(code)}; its own words are above"


class ForgeBroken(Exception):
    """No child can be made on this machine: a broken installation, not a broken job."""


_ANSWERS = (Succeeded, Refused, Attempted, DeviceFailed)


def _judged(said: Outcome | None, exited: Exited | None, kills_before: int) -> Outcome:
    """What became of a child that said this and ended so."""
    code = None if exited is None else exited.code
    match said:
        case Interrupted() | Overdue() | Refused() | DeviceFailed():
            return said
        case Succeeded() | Attempted() if code in (0, -signal.SIGKILL):  # It may have been slow to end.
            return said
    if exited is not None and exited.excess is not None:
        return Excessive(exited.excess)
    if code == -signal.SIGSYS:
        return Forbidden()
    if isinstance(said, Died):
        return said
    return Died(_how(code), out_of_memory=code == -signal.SIGKILL and _out_of_memory_kills() > kills_before)


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
