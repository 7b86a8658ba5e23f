"""read -> interpret -> rewrite -> verify -> write -> report: one model file in, one fused model file out."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.engine import programs, state_dicts, trees
from app.engine.formats import GRAPH_KINDS, detect_file
from app.engine.latency import Contest, Unmeasured, measure
from app.engine.loading import Allowed, check_loading, unsafe_names
from app.engine.probes import read_probe
from app.engine.steps import Asked, Steps
from app.engine.weights import as_program
from app.engine.weights.container import Container
from app.engine.weights.opening import open_checkpoint
from app.options import FuseOptions
from app.report import Inspection, Latency, Recognised, Report

Progress = Callable[[str], None]
Tell = Callable[[Recognised], None]


def fuse_checkpoint(
    source: Path,
    target: Path,
    options: FuseOptions,
    *,
    filename: str,
    device: str = "cpu",
    progress: Progress = lambda phase: None,
    tell: Tell = lambda recognised: None,
    sha256: str | None = None,
    probe: Path | None = None,
    verify: bool = True,
    allowed_globals: Collection[str] = (),
) -> Report:
    """Fuse the model file at `source` and write it to `target`; the report says what was done and proves it.

    `progress` is told each phase: reading, fusing, verifying, writing, and measuring if asked
    for; `tell` what was recognised, once it was read.
    `probe` is a file of the caller's own inputs, on which the models are compared instead of seeded ones.
    `sha256` of the source, if it is known, saves a pass over it. `verify=False` is for benchmarks.
    `allowed_globals` are names that a pickle may call, which it else may not: `my.package.Class`, `my.package.*`.
    Raises AppError (see app.errors); NotEquivalent leaves no target.
    """
    asked = Asked(source, target, filename, options, device, verify)
    clock = _Clock(progress)
    with clock.phase("reading"):
        steps = _steps_for(source, options, target, Allowed.of(allowed_globals))
        job = steps.read(source, options, None if probe is None else read_probe(probe))
        tell(steps.recognised(job))
    with clock.phase("fusing"):
        plan = steps.plan(job, options)
    with clock.phase("verifying"):
        evidence = steps.prove(job, plan, device) if verify else None
    with clock.phase("writing"):
        dropped = steps.write(job, plan, options, target)
        equivalence = None
        if evidence is not None:
            equivalence = steps.measure(job, plan, evidence, options, target, device)
        digests = (sha256 or _sha256(source), _sha256(target))
    latency: Latency | None = None
    notes: tuple[str, ...] = ()
    if options.benchmark and evidence is not None:
        with clock.phase("measuring"):
            latency, notes = _timed(steps.contest(job, plan, evidence, asked), device)
    report = steps.report(job, plan, evidence, dropped, equivalence, asked, digests, clock.seconds)
    return report.model_copy(update={"latency": latency, "notes": (*report.notes, *notes)})


def _timed(contest: Contest | Unmeasured, device: str) -> tuple[Latency | None, tuple[str, ...]]:
    """The latency, or the note that says why there is none."""
    found = contest if isinstance(contest, Unmeasured) else measure(contest, device)
    if isinstance(found, Unmeasured):
        return None, (f"latency was not measured: {found.reason}",)
    return found, ()


def _steps_for(source: Path, options: FuseOptions, target: Path, allowed: Allowed) -> Steps[Any, Any, Any, Any]:
    """Graph files by their format; of all others, what is in them and what is asked for decides."""
    kind = detect_file(source)
    if kind in GRAPH_KINDS:
        return programs.STEPS
    opened = open_checkpoint(source, kind, lambda file: check_loading(file, allowed))
    if not isinstance(opened, Container):
        return trees.steps_for(opened)
    if options.output != "keep" and options.architecture is not None:
        return as_program.steps_for(opened, options, target)
    return state_dicts.steps_for(opened)


def recognise_checkpoint(source: Path, options: FuseOptions, *, allowed_globals: Collection[str] = ()) -> Recognised:
    """What `tell` would be told, and nothing after it. Raises AppError."""
    plain = options.model_copy(update={"output": "keep"})  # what it is to become has to be made first
    steps = _steps_for(source, plain, source, Allowed.of(allowed_globals))
    return steps.recognised(steps.read(source, plain, None))


def inspect_checkpoint(source: Path, *, filename: str, sha256: str | None = None) -> Inspection:
    """What is in the file, before anything is fused. Raises AppError."""
    digest = sha256 or _sha256(source)
    kind = detect_file(source)
    if kind in GRAPH_KINDS:
        return programs.inspect(source, filename, digest)
    unsafe: list[str] = []
    opened = open_checkpoint(source, kind, lambda file: unsafe.extend(unsafe_names(file, Allowed())))
    if isinstance(opened, Container):
        found = state_dicts.inspect(opened, source, filename, digest)
    else:
        found = trees.inspect_job(trees.read_from(opened), source, filename, digest)
    return found.model_copy(update={"unsafe_globals": tuple(unsafe)})


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
