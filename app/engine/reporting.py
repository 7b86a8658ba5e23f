"""The report of a job, from the values that its steps left."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from app.engine.forward.families import family_of
from app.engine.fuse.census import count
from app.engine.fuse.pairs import READ_AS
from app.engine.fuse.replace import Fusion
from app.engine.fuse.units import Unit, Units, families_read
from app.engine.ir.checkpoint import total_bytes
from app.engine.ir.module import Module
from app.engine.layers import Changes, Edit, Totals, notes_on, totals, tree_of_modules
from app.engine.verify.equivalence import Figures
from app.engine.verify.probes import SEED
from app.engine.work import Dropped, Evidence, Job, Plan
from app.report import (
    Detected,
    Environment,
    Equivalence,
    IdentityError,
    InputFile,
    NativeError,
    OutputFile,
    Probe,
    ReadAs,
    Recognised,
    Refused,
    RegionError,
    Removed,
    Replaced,
    Report,
    StoredError,
    Summary,
    Tree,
    fused_filename,
)

_LONGEST = 500


def equivalence_of(
    figures: Figures, plan: Plan, native: torch.dtype, device: str, passed: bool, witness: str = ""
) -> Equivalence:
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
            dtype=dtype_name(native),
        ),
        probe=Probe(
            shape=tuple(shapes), seed=SEED, device=device, source="seeded" if plan.inputs is None else "caller"
        ),
        passed=passed,
        witness=witness,
    )


def report_of(
    job: Job,
    plan: Plan,
    dropped: Dropped,
    evidence: Evidence | None,
    equivalence: Equivalence | None,
    seconds: Mapping[str, float],
    paths: tuple[Path, Path],
    digests: tuple[str, str],
    filename: str,
    device: str,
) -> Report:
    after, whole = count(job.found.module), totals_of(plan)
    replaced_parts = replaced_by(plan, evidence)
    refused = refused_by(plan, dropped.pruned)
    tree = tree_by(plan, dropped.edit, job.found.module, refused, dropped.pruned)
    return Report(
        summary=Summary(
            parameters_before=job.census.parameters,
            parameters_after=after.parameters,
            batch_norms_before=job.census.batch_norms,
            batch_norms_after=after.batch_norms,
            convolutions_before=job.census.convolutions,
            convolutions_after=after.convolutions,
            multiply_adds_before=whole.before if whole is not None else None,
            multiply_adds_after=whole.after if whole is not None else None,
            layers_replaced=len(replaced_parts),
            layers_refused=len(refused),
            layers_removed=len(dropped.pruned),
            bytes_stripped=sum(part.bytes for part in dropped.stripped),
            bytes_saved_by_fusing=job.model_bytes - total_bytes(job.found.module.node),
        ),
        input=input_of(job, paths[0], digests[0], filename),
        output=OutputFile(
            filename=fused_filename(filename), bytes=paths[1].stat().st_size, sha256=digests[1], format=job.file.format
        ),
        equivalence=equivalence,
        tree=tree,
        replaced=replaced_parts,
        refused=refused,
        removed=(*dropped.stripped, *dropped.pruned),
        read_as=read_as(plan.units),
        globals=job.file.globals,
        notes=(*_notes(job, plan, replaced_parts, refused), *notes_on(tree)),
        timings_seconds={**seconds, "total": round(sum(seconds.values()), 6)},
        environment=environment_of(device),
    )


def totals_of(plan: Plan) -> Totals | None:
    """Multiply-adds of the model; None where it is not followed as a whole."""
    if not plan.units.whole:
        return None
    (unit, fusion), *_ = plan.fusions
    return totals(unit.trace.graph, fusion.replacements)


def tree_by(
    plan: Plan, edit: Edit, root: Module, refused: Sequence[Refused], pruned: Sequence[Removed] = ()
) -> Tree | None:
    """The layers before and after; None where there are more than a report can hold."""
    changes = Changes(
        replacements=[part for _, fusion in plan.fusions for part in fusion.replacements],
        refused=[part.path for part in refused],
        removed=[part.path for part in pruned],
        graph=plan.fusions[0][0].trace.graph if plan.units.whole else None,
    )
    return tree_of_modules(edit, root, changes)


def refused_by(plan: Plan, pruned: Sequence[Removed] = ()) -> tuple[Refused, ...]:
    """Each reason once, in order, but for layers that were taken out altogether."""
    gone = tuple(f"{part.path}." for part in pruned)
    left = dict.fromkeys((cut.path, cut.code, cut.reason) for cut in plan.refused)
    return tuple(
        Refused(path=path, code=code, reason=reason) for path, code, reason in left if not f"{path}.".startswith(gone)
    )


def replaced_by(plan: Plan, evidence: Evidence | None) -> tuple[Replaced, ...]:
    """Every replacement, with its error where it was measured."""
    return tuple(part for unit, fusion in plan.fusions for part in _replaced(unit, fusion, evidence))


def _replaced(unit: Unit, fusion: Fusion, evidence: Evidence | None) -> tuple[Replaced, ...]:
    parts = []
    for part in fusion.replacements:
        proof = evidence.regions[id(part)] if evidence else None
        parts.append(
            Replaced(
                path=part.path,
                read_as=unit.read_as or part.read_as,
                before=part.before,
                after=part.after,
                parameters_before=part.region.pending.cost.parameters,
                parameters_after=part.weight.numel() + part.bias.numel(),
                assumed=unit.assumes(part.region),
                error=RegionError(identity=proof.identity, native=proof.native) if proof else None,
            )
        )
    return tuple(parts)


def nothing_replaced(refused: Sequence[Refused]) -> str:
    """The note of a file that comes back as it was."""
    if refused:
        return "nothing to replace: what could be folded in kind was refused, each for the reason beside it"
    return "nothing to replace: every linear stretch that can be one convolution is one already"


def _notes(job: Job, plan: Plan, replaced: Sequence[Replaced], refused: Sequence[Refused]) -> tuple[str, ...]:
    notes = []
    if not replaced:
        notes.append(nothing_replaced(refused))
    if job.found.key:
        notes.append(f"the model under {job.found.key!r} was used")
    by_plan = sum(unit.read_as == READ_AS for unit in plan.units.units)
    if by_plan:
        notes.append(f"{by_plan} pairs were read by the caller's word (plan=), which the file does not prove")
    assumed = sum(part.assumed and part.read_as != READ_AS for part in replaced)
    if assumed:
        notes.append(
            f"{assumed:,} of {len(replaced):,} replacements assume the usual data flow, which the file does not "
            "prove: see `assumed` in the report; strict=true leaves them out"
        )
    if not plan.units.whole:
        notes.append("the outermost class is not described: equivalence was measured per block")
    return tuple(notes)


def input_of(job: Job, source: Path, digest: str, filename: str) -> InputFile:
    return InputFile(
        filename=filename, bytes=source.stat().st_size, sha256=digest, format=job.file.format, detected=detected_of(job)
    )


def recognised_of(detected: Detected, form: str) -> Recognised:
    """What is told of a file before it is fused: a few lines, whatever stands in the file."""
    told = detected.model_dump()
    texts = {name: shown(value) for name, value in told.items() if isinstance(value, str)}
    return Recognised(format=form, **{**told, **texts, "wrappers": tuple(map(shown, detected.wrappers))})


def shown(text: str) -> str:
    """A text of the file as a report can hold it: not endless, and no half characters."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def detected_of(job: Job) -> Detected:
    """What was recognised in the tree of a checkpoint."""
    module = job.found.module
    family = family_of(module)
    facts: dict[str, Any] = dict(family.facts(module)) if family is not None and family.facts is not None else {}
    return Detected(
        family=facts.get("family"),
        source=shown(job.found.key),
        model_class=module.class_path,
        classes=facts.get("classes"),
        dtype=dtype_name(job.census.dtype),
        parameters=job.census.parameters,
        batch_norms=job.census.batch_norms,
        convolutions=job.census.convolutions,
        wrappers=job.found.wrappers,
        stride=facts.get("stride"),
        variant=facts.get("variant"),
        input_size=facts.get("input_size"),
    )


def read_as(units: Units) -> tuple[ReadAs, ...]:
    found = sorted(families_read(units.units).items())
    return tuple(
        ReadAs(class_path=path, read_as=name, count=number, assumed=assumed) for (path, name, assumed), number in found
    )


def environment_of(device: str) -> Environment:
    return Environment(
        fusebox=version("fusebox"), torch=torch.__version__, python=platform.python_version(), device=device
    )


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
