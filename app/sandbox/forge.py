"""The warm parent: a single-threaded process that has imported torch and the engine once, and forks a child a job.

Started by the worker as `python -m app.sandbox.forge FD`. It ends when the worker's end of the socket closes.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from app.sandbox import reach
from app.sandbox.child import run_child
from app.sandbox.watch import INTERVAL_SECONDS, Excess, Watch
from app.sandbox.wire import MAX_LINE, Exited, Kill, ProtocolError, Ready, Request, Trial, parse, send
from app.sandbox.words import Words


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    # Here, once: it looks at the machine, for which a child would need to see more of it.
    with contextlib.suppress(ImportError):
        import_module("onnxruntime")
    reach.code()  # kept for the children
    # torch.set_num_threads would start a thread here, so the worker sets OMP_NUM_THREADS instead.
    assert len(os.listdir("/proc/self/task")) == 1, "a warm parent with threads can't fork safely"
    assert not _gpus_held(), "what is forked from a process that has started CUDA can't use it"
    # What is loaded now stays: a child's collector need neither look at it nor, by touching it, copy its pages.
    gc.freeze()
    send(control, Ready())
    while (received := _receive(control)) is not None:
        request, channel = received
        send(control, _run(request, channel, control))


def _gpus_held() -> list[str]:
    """Files of NVIDIA's driver that are open here: there are some from the moment that anything starts CUDA."""
    names = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.lexists(entry.path)]
    return [name for name in names if name.startswith("/dev/nvidia")]


def _receive(control: socket.socket) -> tuple[Request | Trial, socket.socket] | None:
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
            if isinstance(message, Request | Trial):
                return message, socket.socket(fileno=fds[0])
            if not isinstance(message, Kill):
                raise ProtocolError(f"{message.kind} is not for the warm parent")


@dataclass(frozen=True, slots=True)
class _Child:
    """A child at work, and how one hears of its end and of its words."""

    pid: int
    alive: int
    words: Words
    watch: Watch


def _run(request: Request | Trial, channel: socket.socket, control: socket.socket) -> Exited:
    """Fork, wait for the end of the child, and kill it when told so or when it uses too much."""
    child = _fork(request, channel)
    try:
        excess = _look_after(child, control)
        child.words.relay()
    finally:
        os.close(child.alive)
        os.close(child.words.descriptor)
    # Not waited for yet, so the number is still its own: what it started goes with it.
    _kill_group(child.pid)
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    return Exited(code=code, excess=excess)


def _fork(request: Request | Trial, channel: socket.socket) -> _Child:
    parent = os.getpid()
    hearing, saying = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        run_child(request, channel.fileno(), saying, parent)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # Here as well: whoever comes first, the group exists before it is killed.
    channel.close()
    os.close(saying)
    os.set_blocking(hearing, False)
    return _Child(
        pid, os.pidfd_open(pid), Words(hearing), Watch.over(pid, Path(request.directory, "work"), request.limits)
    )


def _look_after(child: _Child, control: socket.socket) -> Excess | None:
    """Until the child has ended; what it was killed for, if it used too much of something."""
    found: Excess | None = None
    while True:
        watched: list[int | socket.socket] = [child.alive, control]
        if not child.words.ended:
            watched.append(child.words.descriptor)
        readable, _, _ = select.select(watched, [], [], INTERVAL_SECONDS)
        if child.words.descriptor in readable:
            child.words.relay()
        if child.alive in readable:
            return found
        if control in readable:
            if not control.recv(MAX_LINE):
                _kill_group(child.pid)
                sys.exit(0)
            _kill_group(child.pid)
        if found is None and (found := child.watch.excess()) is not None:
            _kill_group(child.pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    # The worker is gone: nobody is left to tell, and the next one starts its own.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        main()
