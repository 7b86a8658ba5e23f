"""read -> interpret -> rewrite -> verify -> write -> report: one checkpoint in, one fused checkpoint out."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from app.engine.formats import TorchFile, read_file, write_file
from app.engine.forward.families import family_of
from app.engine.fuse.census import Census, count, first_not_finite, widen
from app.engine.fuse.replace import Fusion, apply, plan_fusion, withheld
from app.engine.fuse.survey import survey
from app.engine.fuse.units import Unit, Units, families_read, find_units
from app.engine.interpret.affine import Cut
from app.engine.interpret.lockstep import Fused, RegionProof
from app.engine.ir.checkpoint import Found, find_model, strip, total_bytes
from app.engine.ir.module import Module
from app.engine.verify.compare import silent
from app.engine.verify.equivalence import Baseline, Figures, failure, measure_original, measure_written
from app.engine.verify.probes import SEED, probe
from app.engine.verify.written import missing
from app.errors import NotEquivalent, UnsupportedContent
from app.options import FuseOptions
from app.report import (
    Detected,
    Environment,
    Equivalence,
    IdentityError,
    InputFile,
    Inspection,
    NativeError,
    OutputFile,
    Probe,
    ReadAs,
    Refused,
    RegionError,
    Removed,
    Replaced,
    Report,
    StoredError,
    Summary,
    fused_filename,
)

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
    """Fuse the checkpoint at `source` and write it to `target`; the report says what was done and proves it.

    `progress` is told each phase: reading, fusing, verifying, writing. `sha256` of the source, if it is known, saves a
    pass over it. `verify=False` is for benchmarks. Raises AppError (see app.errors); NotEquivalent leaves no target.
    """
    clock = _Clock(progress)
    with clock.phase("reading"):
        job = _read(source)
    with clock.phase("fusing"):
        plan = _plan(job, options)
    with clock.phase("verifying"):
        proof = _prove(job, plan, device) if verify else None
    with clock.phase("writing"):
        removed = _write(job, plan, options, target)
        equivalence = _measure(target, plan, proof, options, device) if proof else None
        digests = (sha256 or _sha256(source), _sha256(target))
    return _report(job, plan, removed, proof, equivalence, clock, (source, target), digests, filename, device)


def inspect_checkpoint(source: Path, *, filename: str, sha256: str | None = None) -> Inspection:
    """What is in the file, before anything is fused. Raises AppError."""
    job = _read(source)
    units = find_units(job.found.module)
    notes = [] if units.whole else ["the outermost class is not described: its known blocks are fused one by one"]
    return Inspection(
        input=_input(job, source, sha256 or _sha256(source), filename),
        read_as=_read_as(units),
        globals=job.file.globals,
        notes=tuple(notes),
    )


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


@dataclass(frozen=True, slots=True)
class _Job:
    file: TorchFile
    found: Found
    census: Census
    model_bytes: int


@dataclass(frozen=True, slots=True)
class _Plan:
    units: Units
    fusions: tuple[tuple[Unit, Fusion], ...]
    refused: tuple[Cut, ...]
    native: torch.dtype


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What was proved before writing, unit by unit, and in which dtype the native figures are taken."""

    units: tuple[Baseline, ...]
    regions: dict[int, RegionProof]  # by id(replacement)
    native: torch.dtype


def _read(source: Path) -> _Job:
    file = read_file(source)
    found = find_model(file.root)
    return _Job(file, found, count(found.module), total_bytes(found.module.node))


def _plan(job: _Job, options: FuseOptions) -> _Plan:
    root = job.found.module
    units = find_units(root)
    wanted = torch.float32 if options.dtype == "float32" else None
    tree = survey(root)
    fusions, refused = [], list(units.unknown)
    for unit in units.units:
        fusion = plan_fusion(unit.trace, tree, wanted)
        if options.strict:
            fusion = _without_assumed(unit, fusion)
        refused.extend(fusion.cuts)
        fusions.append((unit, fusion))
    return _Plan(units, tuple(fusions), tuple(refused), _native_dtype(job, wanted))


def _without_assumed(unit: Unit, fusion: Fusion) -> Fusion:
    reason = "how its parts follow one another is usual, but not proved by the file (strict=true)"
    assumed = [part for part in fusion.replacements if unit.assumes(part.region)]
    cuts = [cut for part in assumed for cut in withheld(part, "data-flow-assumed", reason)]
    kept = tuple(part for part in fusion.replacements if part not in assumed)
    return replace(fusion, replacements=kept, cuts=(*fusion.cuts, *cuts))


def _native_dtype(job: _Job, wanted: torch.dtype | None) -> torch.dtype:
    """The dtype in which the loader of this file runs the model."""
    family = family_of(job.found.module)
    if family is not None and family.runs_in is not None:
        named: torch.dtype = getattr(torch, family.runs_in)
        return named
    return wanted or job.census.dtype


def _prove(job: _Job, plan: _Plan, device: str) -> _Evidence:
    """Prove every unit; in a wider dtype where the native one can't hold what the original makes of the probe."""
    for native in dict.fromkeys((plan.native, torch.float32, torch.float64)):
        evidence = _prove_in(native, plan, device)
        if all(unit.finite for unit in evidence.units):
            break
    if any(silent(unit.proof.outputs) for unit in evidence.units):
        where = first_not_finite(job.found.module)
        raise UnsupportedContent(
            f"the model's outputs are not finite numbers{f', as {where} is not' if where else ''}: "
            "nothing that fusing changes could be seen in them",
            remedy="upload a checkpoint whose training did not diverge",
        )
    return evidence


def _prove_in(native: torch.dtype, plan: _Plan, device: str) -> _Evidence:
    units, regions = [], {}
    for unit, fusion in plan.fusions:
        inputs = probe(unit.shapes, images=plan.units.whole)
        baseline = measure_original(unit.trace.graph, _fused(fusion), inputs, native, device)
        units.append(baseline)
        found = zip(fusion.replacements, baseline.proof.regions, strict=True)
        regions.update({id(part): proof for part, proof in found})
    return _Evidence(tuple(units), regions, native)


def _fused(fusion: Fusion) -> list[Fused]:
    return [Fused(part.region, part.weight, part.bias) for part in fusion.replacements]


def _write(job: _Job, plan: _Plan, options: FuseOptions, target: Path) -> list[Removed]:
    """Edit the tree (the plan keeps what it needs of the original) and write it."""
    root = job.found.module
    for _, fusion in plan.fusions:
        apply(fusion, root)
    removed = strip(job.file.root, job.found)
    for unit, _ in plan.fusions:
        family = family_of(unit.module)
        if family is not None and family.prune is not None:
            removed += [Removed(path=p.path, reason=p.reason, bytes=p.bytes) for p in family.prune(unit.module)]
    if options.dtype == "float32":
        widen(root)
    try:
        write_file(job.file, job.file.root, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return removed


def _measure(target: Path, plan: _Plan, evidence: _Evidence, options: FuseOptions, device: str) -> Equivalence:
    """Read the written file back, run it, and compare. Raises NotEquivalent, and then leaves no file."""
    try:
        figures = _figures(find_model(read_file(target).root).module, plan, evidence, device)
        problem = failure(figures, tuple(evidence.regions.values()), options.max_error)
        equivalence = _equivalence(figures, plan, evidence.native, device, problem is None)
        if problem is not None:
            raise NotEquivalent(
                problem,
                remedy="the model is not returned; pass dtype=float32 if the file's own precision is too coarse, "
                "or a larger max_error if you set one",
                equivalence=equivalence.model_dump(mode="json"),  # null where a figure is not finite
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return equivalence


def _figures(written: Module, plan: _Plan, evidence: _Evidence, device: str) -> Figures:
    figures: Figures | None = None
    for (unit, fusion), before in zip(plan.fusions, evidence.units, strict=True):
        if not fusion.replacements and not plan.units.whole:
            continue
        after = unit.again(_at(written, unit.module.path)).graph
        lost = missing(after, _fused(fusion))
        if lost is not None:
            raise NotEquivalent(f"the written file does not hold the convolution of {lost.region.nodes[-1].owner}")
        found = measure_written(before, after, evidence.native, device)
        figures = found if figures is None else figures.worst(found)
    return figures or Figures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _at(root: Module, path: str) -> Module:
    module: Module | None = root
    for part in path.split(".") if path else ():
        module = module.child(part) if module else None
    assert module is not None
    return module


def _equivalence(figures: Figures, plan: _Plan, native: torch.dtype, device: str, passed: bool) -> Equivalence:
    changed = [unit for unit, fusion in plan.fusions if fusion.replacements or plan.units.whole]
    shapes = dict.fromkeys(shape for unit in changed for shape in unit.shapes)
    return Equivalence(
        scope="none" if not changed else "model" if plan.units.whole else "blocks",
        identity=IdentityError(relative=figures.identity),
        stored=StoredError(relative=figures.stored, noise=figures.stored_noise),
        native=NativeError(
            relative=figures.native,
            absolute=figures.native_absolute,
            noise=figures.native_noise,
            dtype=_name(native),
        ),
        probe=Probe(shape=tuple(shapes), seed=SEED, device=device),
        passed=passed,
    )


def _report(
    job: _Job,
    plan: _Plan,
    removed: Sequence[Removed],
    evidence: _Evidence | None,
    equivalence: Equivalence | None,
    clock: _Clock,
    paths: tuple[Path, Path],
    digests: tuple[str, str],
    filename: str,
    device: str,
) -> Report:
    after = count(job.found.module)
    replaced = tuple(_replaced(unit, fusion, evidence) for unit, fusion in plan.fusions)
    replaced_parts = tuple(part for parts in replaced for part in parts)
    refused = _refused(plan, removed)
    stripped = sum(part.bytes for part in removed if part.path not in {p.path for p in _pruned(removed)})
    return Report(
        summary=Summary(
            parameters_before=job.census.parameters,
            parameters_after=after.parameters,
            batch_norms_before=job.census.batch_norms,
            batch_norms_after=after.batch_norms,
            convolutions_before=job.census.convolutions,
            convolutions_after=after.convolutions,
            layers_replaced=len(replaced_parts),
            layers_refused=len(refused),
            layers_removed=len(_pruned(removed)),
            bytes_stripped=stripped,
            bytes_saved_by_fusing=job.model_bytes - total_bytes(job.found.module.node),
        ),
        input=_input(job, paths[0], digests[0], filename),
        output=OutputFile(
            filename=fused_filename(filename), bytes=paths[1].stat().st_size, sha256=digests[1], format=job.file.format
        ),
        equivalence=equivalence,
        replaced=replaced_parts,
        refused=refused,
        removed=tuple(removed),
        read_as=_read_as(plan.units),
        notes=_notes(job, plan, replaced_parts),
        timings_seconds={**clock.seconds, "total": round(sum(clock.seconds.values()), 6)},
        environment=_environment(device),
    )


def _refused(plan: _Plan, removed: Sequence[Removed]) -> tuple[Refused, ...]:
    """Each reason once, in order, but for layers that were taken out altogether."""
    gone = tuple(f"{part.path}." for part in _pruned(removed))
    left = dict.fromkeys((cut.path, cut.code, cut.reason) for cut in plan.refused)
    return tuple(
        Refused(path=path, code=code, reason=reason) for path, code, reason in left if not f"{path}.".startswith(gone)
    )


def _pruned(removed: Sequence[Removed]) -> list[Removed]:
    """Layers of the model, as against training state beside it."""
    return [part for part in removed if "." in part.path]


def _replaced(unit: Unit, fusion: Fusion, evidence: _Evidence | None) -> tuple[Replaced, ...]:
    parts = []
    for part in fusion.replacements:
        proof = evidence.regions[id(part)] if evidence else None
        parts.append(
            Replaced(
                path=part.path,
                read_as=part.read_as,
                before=part.before,
                after=part.after,
                parameters_before=part.region.pending.cost.parameters,
                parameters_after=part.weight.numel() + part.bias.numel(),
                assumed=unit.assumes(part.region),
                error=RegionError(identity=proof.identity, native=proof.native) if proof else None,
            )
        )
    return tuple(parts)


def _notes(job: _Job, plan: _Plan, replaced: Sequence[Replaced]) -> tuple[str, ...]:
    notes = []
    if not replaced:
        notes.append("nothing to replace: every linear stretch that can be one convolution is one already")
    if job.found.key:
        notes.append(f"the model under {job.found.key!r} was used")
    if not plan.units.whole:
        notes.append("the outermost class is not described: equivalence was measured per block")
    return tuple(notes)


def _input(job: _Job, source: Path, digest: str, filename: str) -> InputFile:
    return InputFile(
        filename=filename, bytes=source.stat().st_size, sha256=digest, format=job.file.format, detected=_detected(job)
    )


def _detected(job: _Job) -> Detected:
    module = job.found.module
    family = family_of(module)
    facts: dict[str, Any] = dict(family.facts(module)) if family is not None and family.facts is not None else {}
    return Detected(
        family=facts.get("family"),
        source=job.found.key,
        model_class=module.class_path,
        classes=facts.get("classes"),
        dtype=_name(job.census.dtype),
        parameters=job.census.parameters,
        batch_norms=job.census.batch_norms,
        convolutions=job.census.convolutions,
        wrappers=job.found.wrappers,
        stride=facts.get("stride"),
    )


def _read_as(units: Units) -> tuple[ReadAs, ...]:
    found = sorted(families_read(units.units).items())
    return tuple(ReadAs(class_path=path, read_as=name, count=number) for (path, name), number in found)


def _environment(device: str) -> Environment:
    return Environment(
        fusebox=version("fusebox"), torch=torch.__version__, python=platform.python_version(), device=device
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
