"""The proof, when a worker starts, that its children are confined: they try what is forbidden, and do a small job."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from app.options import FuseOptions
from app.sandbox.confine import Mode
from app.sandbox.limits import Limits
from app.sandbox.outcome import Attempted, Forbidden, Outcome, Succeeded
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Act, Request, Trial

_ACTS: tuple[Act, ...] = tuple(act for act in get_args(Act) if act not in ("prepare", "device-assert"))
_SECONDS = 120.0
# What a child must read, and what it is handed, in the place of an upload.
_INPUT = b"not a model"


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
    """The kernel does not keep children from what they must not do, or keeps them from their job."""


def prove(forge: Forge, directory: Path, demand: Demand) -> Proof:
    """Try it in a directory that is made and removed. Raises NotConfined where something goes wrong and must not."""
    try:
        wrong = [] if demand.mode == "off" else tried(forge, directory, demand)
        if wrong and demand.mode == "required":
            raise NotConfined("a confined process could: " + "; ".join(wrong))
        _do_a_job(forge, directory, demand)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Proof(demand.mode, tuple(wrong))


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
    return (f"{act}: {outcome}",)


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
        raise NotConfined(f"a confined process can't write into its directory: {prepared}")
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
        raise NotConfined(f"a confined process can't do a job: {done}")


def _lay_out(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "work").mkdir(parents=True, mode=0o700)
    (directory / "input").write_bytes(_INPUT)
