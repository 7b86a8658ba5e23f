"""What worker, warm parent and child say to each other: one JSON object a line, parsed once into a type here."""

import os
import socket
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.devices.found import Fault
from app.errors import Problem
from app.jobs.job import Phase
from app.options import FuseOptions
from app.report import Recognised
from app.sandbox.confine import Mode
from app.sandbox.limits import Limits
from app.sandbox.watch import Excess

MAX_LINE = 1 << 20


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Message):
    """Worker to warm parent, with the child's end of the channel as a file descriptor: run one job.

    The directory holds `input`, which the child reads, `probe` if there is one, and the directory `work`, which it
    writes into.
    """

    kind: Literal["run"] = "run"
    directory: str
    filename: str
    options: FuseOptions
    device: str
    limits: Limits
    mode: Mode
    allowed_globals: tuple[str, ...] = ()  # names that the operator lets a checkpoint call
    sha256: str | None = None  # of the input, where it is known
    look: bool = False  # only say what is in the file
    probe: bool = False  # whether the caller gave inputs of his own


# `refused`: all that fails with an error. `prepare`: a small checkpoint to be fused by the next child.
# `device-assert`: an error on the GPU that its process does not survive. The others are system calls that are answered
# with death.
Act = Literal[
    "refused",
    "prepare",
    "device-assert",
    "ptrace",
    "process_vm_readv",
    "bpf",
    "mount",
    "unshare",
    "keyctl",
    "userfaultfd",
    "io_uring_setup",
    "setns",
    "pidfd_getfd",
]


class Trial(_Message):
    """Worker to warm parent, as a request: have a child, confined as for a job, try what it must not succeed in."""

    kind: Literal["trial"] = "trial"
    act: Act
    directory: str
    device: str
    limits: Limits
    mode: Mode
    secrets: tuple[str, ...]
    worker: int


class Kill(_Message):
    """Worker to warm parent: end the child and all that it started."""

    kind: Literal["kill"] = "kill"


class Ready(_Message):
    """Warm parent to worker: torch and the engine are loaded."""

    kind: Literal["ready"] = "ready"


class Exited(_Message):
    """Warm parent to worker: the child is gone, with this exit code (negative: by that signal)."""

    kind: Literal["exited"] = "exited"
    code: int
    excess: Excess | None = None


class Progress(_Message):
    """Child to worker: a phase begins."""

    kind: Literal["progress"] = "progress"
    phase: Phase


class Recognition(_Message):
    """Child to worker: what the file holds, before anything is fused."""

    kind: Literal["recognised"] = "recognised"
    recognised: Recognised


class Finished(_Message):
    """Child to worker: output and report lie in the job directory."""

    kind: Literal["finished"] = "finished"


class Rejected(_Message):
    """Child to worker: the file or the options are at fault."""

    kind: Literal["rejected"] = "rejected"
    problem: Problem


class Faulted(_Message):
    """Child to worker: the GPU failed, and with it whatever this process could still do there."""

    kind: Literal["faulted"] = "faulted"
    fault: Fault


class Tried(_Message):
    """Child to worker: what it succeeded in although it must not, or failed in although it must be able to."""

    kind: Literal["tried"] = "tried"
    wrong: tuple[str, ...]


Message = Annotated[
    Request | Trial | Kill | Ready | Exited | Progress | Recognition | Finished | Rejected | Faulted | Tried,
    Field(discriminator="kind"),
]
_MESSAGE: TypeAdapter[Any] = TypeAdapter(Message)


class ProtocolError(Exception):
    """The other side said something that is no message. From a child: treat it as dead."""


@dataclass(slots=True)
class Lines:
    """The messages that arrive on a stream socket; `read` once whenever it is readable."""

    sock: socket.socket
    pending: bytes = b""
    closed: bool = False

    def read(self) -> list[Any]:
        """Messages that are complete by now. Blocks only if nothing has arrived. Raises ProtocolError."""
        received = self._receive()
        if not received:
            self.closed = True
        *lines, self.pending = (self.pending + received).split(b"\n")
        if len(self.pending) > MAX_LINE:
            raise ProtocolError(f"a line of more than {MAX_LINE:,} bytes")
        return [parse(line) for line in lines]

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except ConnectionResetError:
            return b""


def send(sock: socket.socket, message: BaseModel, *fds: int) -> None:
    line = message.model_dump_json().encode() + b"\n"
    if fds:
        sent = socket.send_fds(sock, [line], fds)
        line = line[sent:]
    if line:
        sock.sendall(line)


def write(descriptor: int, message: BaseModel) -> None:
    """As `send`, for a child, which may make no call that is for sockets alone."""
    line = memoryview(message.model_dump_json().encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]


def parse(line: bytes) -> Any:
    try:
        # Strictly JSON, of bounded depth, and without halves of characters.
        return _MESSAGE.validate_json(line)
    except ValueError as error:
        raise ProtocolError(str(error)[:500]) from None
