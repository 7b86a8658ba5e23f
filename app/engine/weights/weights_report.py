"""The report on a file of weights, and what is told of one before anything is fused."""

from collections.abc import Mapping
from pathlib import Path

from app.engine.fuse.census import Census, count
from app.engine.ir.checkpoint import total_bytes
from app.engine.layers import Totals, notes_on
from app.engine.reporting import (
    dtype_name,
    environment_of,
    nothing_replaced,
    read_as,
    refused_by,
    replaced_by,
    totals_of,
    tree_by,
)
from app.engine.steps import Asked
from app.engine.weights.container import Container
from app.engine.weights.forms.found import forms_found
from app.engine.weights.job import WeightsJob
from app.engine.weights.naming import wrapper_prefix
from app.engine.weights.providers import best_matches
from app.engine.weights.tree import names_of, tree_of
from app.engine.work import Dropped, Evidence, Plan
from app.report import (
    Detected,
    Equivalence,
    InputFile,
    Inspection,
    OutputFile,
    Refused,
    Removed,
    Replaced,
    Report,
    Summary,
    fused_filename,
)

_STATE_DICT = "state dict"


def report_of(
    job: WeightsJob,
    plan: Plan,
    evidence: Evidence | None,
    dropped: Dropped,
    equivalence: Equivalence | None,
    asked: Asked,
    digests: tuple[str, str],
    seconds: Mapping[str, float],
) -> Report:
    """Figures are of the tensors in the file; a state dict has no layers, so what looks like one counts as one."""
    after, replaced, refused = count(job.blueprint.module), replaced_by(plan, evidence), refused_by(plan)
    tree = tree_by(plan, dropped.edit, job.blueprint.module, refused)
    return Report(
        summary=_summary(job, after, len(replaced), len(refused), dropped, totals_of(plan)),
        input=InputFile(
            filename=asked.filename,
            bytes=asked.source.stat().st_size,
            sha256=digests[0],
            format=job.container.format,
            detected=detected_of(job),
        ),
        output=OutputFile(
            filename=fused_filename(asked.filename),
            bytes=asked.target.stat().st_size,
            sha256=digests[1],
            format=job.container.format,
        ),
        equivalence=equivalence,
        tree=tree,
        replaced=replaced,
        refused=refused,
        removed=(*dropped.stripped, *dropped.pruned),
        read_as=read_as(plan.units),
        globals=job.container.globals,
        notes=(*_notes(job, replaced, refused), *notes_on(tree)),
        timings_seconds={**seconds, "total": round(sum(seconds.values()), 6)},
        environment=environment_of(asked.device),
    )


def pruned_of(job: WeightsJob) -> tuple[Removed, ...]:
    """Parts of the model that inference never reads."""
    reduction = job.blueprint.reduction
    parts = reduction.removed if reduction is not None else ()
    return tuple(Removed(path=part.path, reason=part.reason, bytes=part.bytes) for part in parts)


def _summary(
    job: WeightsJob,
    after: Census,
    replaced: int,
    refused: int,
    dropped: Dropped,
    whole: Totals | None,
) -> Summary:
    before = job.census
    left = [node for _, node in names_of(job.blueprint.module)]
    return Summary(
        parameters_before=before.parameters,
        parameters_after=after.parameters,
        batch_norms_before=before.batch_norms,
        batch_norms_after=after.batch_norms,
        convolutions_before=before.convolutions,
        convolutions_after=after.convolutions,
        multiply_adds_before=whole.before if whole is not None else None,
        multiply_adds_after=whole.after if whole is not None else None,
        layers_replaced=replaced,
        layers_refused=refused,
        layers_removed=len(dropped.pruned),
        bytes_stripped=sum(part.bytes for part in dropped.stripped),
        bytes_saved_by_fusing=job.model_bytes - total_bytes([*left, *job.blueprint.loose.values()]),
    )


def _notes(job: WeightsJob, replaced: tuple[Replaced, ...], refused: tuple[Refused, ...]) -> tuple[str, ...]:
    notes = list(job.blueprint.notes)
    if not replaced:
        notes.append(nothing_replaced(refused))
    if job.container.key:
        notes.append(f"the weights under {job.container.key!r} were used")
    if job.prefix:
        notes.append(f"the model's names begin with {job.prefix!r}: paths are given without it")
    if job.architecture is not None and not job.blueprint.units.whole:
        notes.append(f"equivalence was measured per block of {job.blueprint.read_as}")
    return tuple(notes)


def detected_of(job: WeightsJob) -> Detected:
    """What was recognised, with the caller's word for what it belongs to."""
    return Detected(
        family=job.blueprint.family,
        source=job.container.key,
        model_class=_STATE_DICT,
        classes=job.blueprint.classes,
        dtype=dtype_name(job.census.dtype),
        parameters=job.census.parameters,
        batch_norms=job.census.batch_norms,
        convolutions=job.census.convolutions,
        variant=job.blueprint.variant,
        architecture=job.architecture,
        prefix=job.prefix,
        input_size=job.blueprint.input_size,
    )


def inspection_of(container: Container, source: Path, filename: str, digest: str) -> Inspection:
    """What a file of weights holds, and which architectures it may belong to."""
    root, _ = tree_of(container.tensors)
    census = count(root)
    detected = Detected(
        family=None,
        source=container.key,
        model_class=_STATE_DICT,
        dtype=dtype_name(census.dtype),
        parameters=census.parameters,
        batch_norms=census.batch_norms,
        convolutions=census.convolutions,
        prefix=wrapper_prefix(container.tensors),
    )
    matches = best_matches(container)
    notes = [f"may be architecture={one.architecture}: {one.why}" for one in matches]
    return Inspection(
        input=InputFile(
            filename=filename, bytes=source.stat().st_size, sha256=digest, format=container.format, detected=detected
        ),
        read_as=(),
        globals=container.globals,
        notes=(*(notes or ("no architecture that is known here fits its names",)), *forms_found(root)),
    )
