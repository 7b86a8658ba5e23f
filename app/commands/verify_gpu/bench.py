"""Jobs and trials in confined children, as a worker runs them, on a small checkpoint or the caller's."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.options import FuseOptions
from app.report import Report
from app.sandbox.limits import Limits, machine_memory
from app.sandbox.outcome import Attempted, Outcome
from app.sandbox.proof import Demand, tried
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Request, Trial
from app.settings import Settings

_SECONDS = 300.0


@dataclass(slots=True)
class Bench:
    """What is tried with; `parent_touched` are files of a GPU that a process mapped which must not."""

    forge: Forge
    directory: Path
    settings: Settings
    model: Path | None
    parent_touched: list[str] = field(default_factory=list)

    def lay_out(self, source: Path | None = None) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "work").mkdir(parents=True)
        if source is None:
            (self.directory / "input").write_bytes(b"not a model")
        else:
            shutil.copyfile(source, self.directory / "input")

    def limits(self, device_memory: int = 0) -> Limits:
        return Limits(memory=machine_memory(), written=64 << 30, threads=1024, device_memory=device_memory)

    def attempt(self, act: Literal["prepare", "device-assert"], device: str) -> Outcome:
        self.lay_out()
        trial = Trial(
            act=act,
            directory=str(self.directory),
            device=device,
            limits=self.limits(),
            mode=self.settings.sandbox,
            secrets=(),
            worker=os.getpid(),
        )
        return self.forge.attempt(trial, _SECONDS)

    def fuse(self, device: str, *, memory: int = 0, benchmark: bool = False) -> Outcome:
        if self.model is None:
            # A small one, written by a child: this process has no torch.
            if (prepared := self.attempt("prepare", "cpu")) != Attempted(()):
                return prepared
            self.model = self.directory.with_name("small.pt")
            (self.directory / "work" / "output").replace(self.model)
        self.lay_out(self.model)
        request = Request(
            directory=str(self.directory),
            filename="model.pt",
            options=FuseOptions(benchmark=benchmark),
            device=device,
            limits=self.limits(memory),
            mode=self.settings.sandbox,
        )
        return self.forge.run(request, on_phase=self._look_at_parents, unwanted=lambda: False, seconds=_SECONDS)

    def report(self) -> Report:
        return Report.model_validate_json((self.directory / "work" / "report.json").read_bytes())

    def _look_at_parents(self, _phase: str) -> None:
        """While a child works: a process that has a context on a GPU maps its device files."""
        for pid in (os.getpid(), self.forge.pid):
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
            self.parent_touched += [line.split()[-1] for line in maps.splitlines() if "/dev/nvidia" in line]

    def unconfined(self, device: str) -> list[str]:
        """What children with the rules for this device could do although they must not."""
        if self.settings.sandbox == "off":
            return []
        return tried(self.forge, self.directory, Demand(self.settings.sandbox, device, self.limits(), ()))
