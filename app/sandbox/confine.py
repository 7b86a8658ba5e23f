"""What a child gives up before it looks at an upload, in the order in which it can be given up."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.sandbox.calls import child_filter
from app.sandbox.kernel import landlock, seccomp
from app.sandbox.kernel.bpf import assemble
from app.sandbox.kernel.capabilities import drop_capabilities
from app.sandbox.kernel.system import prctl
from app.sandbox.limits import Limits, hold
from app.sandbox.reach import rules

# `required`: all of it, or no job. `available`: as much as the kernel can. `off`: neither Landlock nor seccomp.
Mode = Literal["required", "available", "off"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Terms:
    """What a child is left with."""

    mode: Mode
    given: tuple[Path, ...]
    work: Path
    limits: Limits
    cuda: bool


def confine(terms: Terms) -> None:
    """Confine this process and what it starts. Raises OSError rather than go on with less than asked."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    # When memory runs out, this process goes first, and not the API or the worker.
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")
    assert len(os.listdir("/proc/self/task")) == 1, "threads that exist already would stay free"
    os.chdir(terms.work)
    hold(terms.limits, cuda=terms.cuda)
    drop_capabilities()
    if terms.mode == "off":
        return
    with _tolerated(terms.mode):
        landlock.restrict(rules(terms.given, terms.work, cuda=terms.cuda))
    with _tolerated(terms.mode):
        seccomp.install(assemble(child_filter(seccomp.architecture(), os.getpid(), cuda=terms.cuda)))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (strictly: the parent's thread that started it)."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)  # It had ended before the kernel was asked.


def _tolerated(mode: Mode) -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(OSError) if mode == "available" else contextlib.nullcontext()
