"""read -> interpret -> rewrite -> verify -> write -> report: one model file in, one fused model file out."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.engine import programs, trees
from app.engine.formats import GRAPH_KINDS, detect_file
from app.engine.steps import Asked, D, E, J, P, Steps
from app.options import FuseOptions
from app.report import Inspection, Report

Progress = Callable[[str], None]


def fuse_checkpoint(
    source: Path,
    target: Path,
    options: FuseOptions,
    *,
    filename: str,
    device: str = "cpu",
    progress: Progress = lambda phase: None,
    sha256: str | None = None,
    verify: bool = True,
) -> Report:
    """Fuse the model file at `source` and write it to `target`; the report says what was done and proves it.

    `progress` is told each phase: reading, fusing, verifying, writing. `sha256` of the source, if it is known, saves a
    pass over it. `verify=False` is for benchmarks. Raises AppError (see app.errors); NotEquivalent leaves no target.
    """
    asked = Asked(source, target, filename, options, device, verify)
    clock = _Clock(progress)
    if detect_file(source) in GRAPH_KINDS:
        return _fuse(programs.STEPS, asked, clock, sha256)
    return _fuse(trees.STEPS, asked, clock, sha256)


def _fuse(steps: Steps[J, P, E, D], asked: Asked, clock: "_Clock", sha256: str | None) -> Report:
    with clock.phase("reading"):
        job = steps.read(asked.source, asked.options)
    with clock.phase("fusing"):
        plan = steps.plan(job, asked.options)
    with clock.phase("verifying"):
        evidence = steps.prove(job, plan, asked.device) if asked.verify else None
    with clock.phase("writing"):
        dropped = steps.write(job, plan, asked.options, asked.target)
        equivalence = None
        if evidence is not None:
            equivalence = steps.measure(job, plan, evidence, asked.options, asked.target, asked.device)
        digests = (sha256 or _sha256(asked.source), _sha256(asked.target))
    return steps.report(job, plan, evidence, dropped, equivalence, asked, digests, clock.seconds)


def inspect_checkpoint(source: Path, *, filename: str, sha256: str | None = None) -> Inspection:
    """What is in the file, before anything is fused. Raises AppError."""
    inspect = programs.inspect if detect_file(source) in GRAPH_KINDS else trees.inspect
    return inspect(source, filename, sha256 or _sha256(source))


class _Clock:
    """Seconds spent in each phase."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 6)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
