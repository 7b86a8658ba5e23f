"""What worker, warm parent and child say to each other: one JSON object a line, parsed once into a type here."""

import json
import socket
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.errors import Problem
from app.jobs.job import Phase
from app.options import FuseOptions
from app.report import Recognised

MAX_LINE = 1 << 20


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Message):
    """Worker to warm parent, with the child's end of the channel as a file descriptor: run one job."""

    kind: Literal["run"] = "run"
    directory: str
    filename: str
    options: FuseOptions
    device: str
    allowed_globals: tuple[str, ...] = ()  # names that the operator lets a checkpoint call


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


Message = Annotated[
    Request | Kill | Ready | Exited | Progress | Recognition | Finished | Rejected, Field(discriminator="kind")
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


def parse(line: bytes) -> Any:
    try:
        return _MESSAGE.validate_python(json.loads(line))
    except ValueError as error:
        raise ProtocolError(str(error)) from None
