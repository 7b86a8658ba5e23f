"""The proof, when a worker starts, that its children are confined: they try what is forbidden, and do a small job."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from app.options import FuseOptions
from app.sandbox.confine import Mode
from app.sandbox.kernel import landlock, seccomp
from app.sandbox.limits import Limits
from app.sandbox.outcome import Attempted, Died, Forbidden, Outcome, Refused, Succeeded
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Act, Request, Trial

_ACTS: tuple[Act, ...] = tuple(act for act in get_args(Act) if act not in ("prepare", "device-assert"))
_SECONDS = 120.0
# What a child must read, and what it is handed, in the place of an upload.
_INPUT = b"not a model"

_REMEDIES = {
    "landlock": "It needs Linux 5.13 or later with landlock among its security modules (lsm= of the kernel's command "
    "line), and in a container a seccomp profile that allows the landlock_* calls, such as the one in deploy/seccomp",
    "seccomp": "It needs a kernel with CONFIG_SECCOMP_FILTER, and in a container a seccomp profile that allows the "
    "seccomp call, such as the one in deploy/seccomp",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """What every child of this worker is to be held to. `secrets` are files that none of them may read."""

    mode: Mode
    device: str
    limits: Limits
    secrets: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """How children are confined here, and in what they were not."""

    mode: Mode
    wrong: tuple[str, ...]

    @property
    def confinement(self) -> str:
        """In a word, for the worker's row and whoever asks whether the service is ready."""
        if self.mode == "off":
            return "off"
        return "partial" if self.wrong else "full"


class NotConfined(Exception):
    """The kernel does not keep children from what they must not do, or keeps them from their job.

    `detail` and `remedy` name no path: whoever asks whether the service is ready reads them. `wrong` may.
    """

    def __init__(self, reason: str, detail: str, remedy: str, wrong: Sequence[str] = ()) -> None:
        super().__init__(f"{detail}: {'; '.join(wrong)}" if wrong else detail)
        self.reason = reason
        self.detail = detail
        self.remedy = remedy
        self.wrong = tuple(wrong)


def prove(forge: Forge, directory: Path, demand: Demand) -> Proof:
    """Try it in a directory that is made and removed. Raises NotConfined where something goes wrong and must not."""
    if demand.mode == "required":
        _ask_kernel()
    try:
        wrong = [] if demand.mode == "off" else tried(forge, directory, demand)
        if wrong and demand.mode == "required":
            raise _too_free(wrong)
        _do_a_job(forge, directory, demand)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Proof(demand.mode, tuple(wrong))


def _ask_kernel() -> None:
    """Before children try it in vain. Raises NotConfined."""
    for name, ask in (("landlock", landlock.version), ("seccomp", seccomp.ask)):
        try:
            ask()
        except OSError as error:
            raise NotConfined(
                f"no-{name}",
                f"{name.capitalize()} can't be used here ({_words(error)})",
                _REMEDIES[name],
            ) from error


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _too_free(wrong: list[str]) -> NotConfined:
    return NotConfined(
        "too-free",
        f"a process that is confined here still could do {len(wrong)} of the things that it must not, or could not do "
        "what it must",
        "The worker's log names them; a filter of system calls around the container may forbid what confines",
        wrong,
    )


def _no_job(what: str, outcome: Outcome) -> NotConfined:
    return NotConfined(
        "no-job", f"a confined process can't {what} here", "The worker's log has its last words", (_said(outcome),)
    )


def _said(outcome: Outcome) -> str:
    """What became of a child, in words."""
    match outcome:
        case Attempted(wrong=wrong):
            return "; ".join(wrong)
        case Died(how=how):
            return f"it ended with {how}"
        case Refused(problem=problem):
            return f"{problem.code}: {problem.detail}"
    return type(outcome).__name__.lower()


def tried(forge: Forge, directory: Path, demand: Demand) -> list[str]:
    """What confined children could do although they must not, or could not although they must; nothing is computed."""
    return [name for act in _ACTS for name in _tried(forge, directory, act, demand)]


def _tried(forge: Forge, directory: Path, act: Act, demand: Demand) -> tuple[str, ...]:
    """What went wrong in a child that tried this."""
    outcome = _attempt(forge, directory, act, demand)
    match outcome:
        case Attempted(wrong=wrong):
            return wrong
        case Forbidden() if act not in ("refused", "prepare"):
            return ()
    return (f"{act}: {_said(outcome)}",)


def _attempt(forge: Forge, directory: Path, act: Act, demand: Demand) -> Outcome:
    _lay_out(directory)
    trial = Trial(
        act=act,
        directory=str(directory),
        device=demand.device,
        limits=demand.limits,
        mode=demand.mode,
        secrets=tuple(map(str, demand.secrets)),
        worker=os.getpid(),
    )
    return forge.attempt(trial, _SECONDS)


def _do_a_job(forge: Forge, directory: Path, demand: Demand) -> None:
    """A small checkpoint, written by a child and fused by another. Raises NotConfined."""
    prepared = _attempt(forge, directory, "prepare", demand)
    if prepared != Attempted(()):
        raise _no_job("write into its directory", prepared)
    (directory / "work" / "output").replace(directory / "input")
    request = Request(
        directory=str(directory),
        filename="small.pt",
        options=FuseOptions(),
        device=demand.device,
        limits=demand.limits,
        mode=demand.mode,
    )
    done = forge.run(request, on_phase=lambda _: None, unwanted=lambda: False, seconds=_SECONDS)
    if done != Succeeded():
        raise _no_job("do a small job", done)


def _lay_out(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "work").mkdir(parents=True, mode=0o700)
    (directory / "input").write_bytes(_INPUT)
