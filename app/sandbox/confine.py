"""What a child gives up before it looks at an upload.

So far: new privileges, core dumps, outliving its parent, and being spared by the out-of-memory killer. It does *not*
yet close the file system or the network to the child (Landlock and seccomp filters): what keeps an upload from doing
harm today is that nothing of it is ever executed.
"""

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(parent: int) -> None:
    """Confine this process, a child of the process `parent`. Raises OSError rather than go on unconfined."""
    die_with_parent(parent)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    # When memory runs out, this process goes first, and not the API or the worker.
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (strictly: the parent's thread that started it)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)  # It had ended before the kernel was asked.


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")
