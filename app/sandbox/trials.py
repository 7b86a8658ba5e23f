"""What a confined child tries, before any job, to prove that it is confined: each must fail, and a few must succeed.

All of it is harmless where it succeeds: on a kernel that can't confine, it runs with the rights of the service.
"""

import contextlib
import ctypes
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from app.devices.use import fail_of_assert, make_ready
from app.sandbox.kernel import seccomp
from app.sandbox.kernel.system import call, prctl
from app.sandbox.wire import Trial, Tried

_Trials = Iterator[tuple[str, Callable[[], object]]]
_SIGNAL_NOTHING = 0
_PR_SET_PDEATHSIG, _PR_GET_NO_NEW_PRIVS = 1, 39
_CHANNEL = 3
# EROFS: what lies on a read-only file system, a container's for example, is refused before Landlock is asked.
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS)


def attempt(trial: Trial, parent: int) -> Tried:
    """What went otherwise than it must in this confined process."""
    if trial.act == "prepare":
        _small_checkpoint(Path("output"))
        return Tried(wrong=())
    if trial.act == "device-assert":
        make_ready(trial.device, trial.limits.device_memory)
        fail_of_assert(trial.device)
    if trial.act == "refused":
        # One child tries all that is refused; calls that are answered with death need a child each.
        return Tried(wrong=(*_succeeded(_forbidden(trial, parent)), *_failed(_needed(trial))))
    with contextlib.suppress(OSError):
        call(trial.act, seccomp.architecture().calls[trial.act], 0, 0, 0, 0, 0)
    return Tried(wrong=(f"call {trial.act}",))


def _succeeded(trials: _Trials) -> list[str]:
    """Names of those that were not refused: what fails for another reason was let through."""
    wrong = []
    for name, act in trials:
        try:
            act()
            wrong.append(name)
        except OSError as error:
            if error.errno not in _REFUSALS:
                wrong.append(name)
    return wrong


def _failed(trials: _Trials) -> list[str]:
    wrong = []
    for name, act in trials:
        try:
            act()
        except Exception as error:
            wrong.append(f"{name} ({type(error).__name__})")
    return wrong


def _forbidden(trial: Trial, parent: int) -> _Trials:
    yield from _reading(trial, parent)
    yield from _writing(trial)
    yield from _reaching(trial, parent)


def _reading(trial: Trial, parent: int) -> _Trials:
    for path in ("/etc/passwd", "/etc/hostname", "/proc/mounts", f"/proc/{parent}/status", "/", *trial.secrets):
        yield f"read {path}", partial(_read, path)
    for pid in (parent, trial.worker):
        for name in ("environ", "cmdline", "maps", "mem"):
            yield f"read /proc/{pid}/{name}", partial(_read, f"/proc/{pid}/{name}")
        yield f"follow /proc/{pid}/cwd", partial(os.readlink, f"/proc/{pid}/cwd")


def _writing(trial: Trial) -> _Trials:
    given, beside = os.path.join(trial.directory, "input"), os.path.join(trial.directory, "beside")
    for path in (beside, "/tmp/fusebox-trial", "/dev/shm/fusebox-trial", "/var/tmp/fusebox-trial"):
        if not os.path.isdir(os.path.dirname(path)):
            continue  # A container need not have all of them.
        yield f"create {path}", partial(_create, path)
    yield "write the input", lambda: _opened(given, os.O_RDWR)
    yield "empty the input", lambda: os.truncate(given, 0)
    yield "change the input's mode", lambda: os.chmod(given, 0o600)
    yield "write Python's own files", lambda: _opened(os.__file__, os.O_WRONLY)
    yield "make a file without a name", lambda: _opened(".", os.O_TMPFILE | os.O_RDWR)
    yield "link the input", lambda: os.link(given, "linked")
    yield "make a symbolic link", lambda: os.symlink("/", "symbolic")
    yield "make a pipe with a name", lambda: os.mkfifo("pipe")


def _reaching(trial: Trial, parent: int) -> _Trials:
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
        yield f"open a socket of {family.name}", partial(socket.socket, family)
    yield "open a pair of sockets", socket.socketpair
    yield "fork", _fork
    # No such program: the call is refused before anybody looks.
    yield "run a program", lambda: os.execv("/nonexistent/program", ["program"])
    for pid in (parent, trial.worker):
        yield f"signal process {pid}", partial(os.kill, pid, _SIGNAL_NOTHING)
        yield f"set priorities of process {pid}", partial(os.setpriority, os.PRIO_PROCESS, pid, 0)
        yield f"hold process {pid}", partial(os.pidfd_open, pid)
    yield "outlive its parent", lambda: prctl(_PR_SET_PDEATHSIG, 0)
    yield "leave its group", lambda: os.setpgid(0, parent)
    if trial.device == "cpu":  # CUDA's driver does not start without
        yield "make memory that is a file", partial(os.memfd_create, "trial")


def _needed(trial: Trial) -> _Trials:
    yield "read the input", lambda: _read(os.path.join(trial.directory, "input"))
    yield "write into its directory", lambda: Path("scratch").write_text("written", encoding="ascii")
    yield "start a thread", _run_thread
    yield "compute on every core", lambda: torch.ones(512, 512).matmul(torch.ones(512, 512)).sum().item()
    yield "load a library", lambda: ctypes.CDLL(_a_library())
    yield "have no descriptor of its parent", _only_own_descriptors
    yield "have no new privileges", lambda: _true(prctl(_PR_GET_NO_NEW_PRIVS, 0) == 1)


def _read(path: str) -> None:
    if os.path.isdir(path):
        os.listdir(path)
    else:
        with open(path, "rb") as file:
            file.read(1)


def _create(path: str) -> None:
    _opened(path, os.O_WRONLY | os.O_CREAT)
    os.unlink(path)


def _opened(path: str, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _run_thread() -> None:
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(True))
    thread.start()
    thread.join()
    _true(bool(said))


def _a_library() -> str:
    """One that is loaded already, found as those are that are loaded later."""
    found = sys.modules["_ctypes"].__file__
    assert found is not None
    return found


def _only_own_descriptors() -> None:
    for descriptor in range(_CHANNEL + 1, 4096):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            raise AssertionError(f"descriptor {descriptor} is open")


def _true(what: bool) -> None:
    if not what:
        raise AssertionError


def _small_checkpoint(path: Path) -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    torch.save(layers.eval(), path)
