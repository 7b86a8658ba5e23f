"""The warm parent: a single-threaded process that has imported torch and the engine once, and forks a child a job.

Started by the worker as `python -m app.sandbox.forge FD`. It ends when the worker's end of the socket closes.
"""

import contextlib
import os
import select
import signal
import socket
import sys

from app.sandbox.child import run_child
from app.sandbox.wire import MAX_LINE, Exited, Kill, ProtocolError, Ready, Request, parse, send


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    # torch.set_num_threads would start a thread here, so the worker sets OMP_NUM_THREADS instead.
    assert len(os.listdir("/proc/self/task")) == 1, "a warm parent with threads can't fork safely"
    send(control, Ready())
    while (received := _receive(control)) is not None:
        request, channel = received
        send(control, Exited(code=_run(request, channel, control)))


def _receive(control: socket.socket) -> tuple[Request, socket.socket] | None:
    """The next request with the child's channel; None when the worker is gone. A late kill is of no concern."""
    while True:
        line, fds, _, _ = socket.recv_fds(control, MAX_LINE, 1)
        while line and not line.endswith(b"\n"):  # a long one (a plan) comes in pieces
            more = control.recv(MAX_LINE)
            line = line + more if more else b""
        if not line:
            return None
        for part in line.splitlines():
            message = parse(part)
            if isinstance(message, Request):
                return message, socket.socket(fileno=fds[0])
            if not isinstance(message, Kill):
                raise ProtocolError(f"{message.kind} is not for the warm parent")


def _run(request: Request, channel: socket.socket, control: socket.socket) -> int:
    """Fork, wait for the end of the child, killing it when told so; its exit code, negative for a signal."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        control.close()
        run_child(request, channel, parent)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # Here as well: whoever comes first, the group exists before it is killed.
    channel.close()
    alive = os.pidfd_open(pid)
    watched: list[int | socket.socket] = [alive, control]
    try:
        while True:
            readable, _, _ = select.select(watched, [], [])
            if alive in readable:
                break
            if not control.recv(MAX_LINE):
                _kill_group(pid)
                sys.exit(0)
            _kill_group(pid)
    finally:
        os.close(alive)
    # Not waited for yet, so the number is still its own: what it started goes with it.
    _kill_group(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    # The worker is gone: nobody is left to tell, and the next one starts its own.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        main()
