"""The report of a graph file's job, from the values that its steps left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from app.engine.fuse.census import Census
from app.engine.fuse.programs import ProgramFusion
from app.engine.layers import Listed, notes_on, totals_of_program, tree_of_operators
from app.engine.reporting import dtype_name, environment_of, nothing_replaced
from app.engine.steps import Asked
from app.engine.verify.equivalence import Figures
from app.engine.verify.probes import SEED
from app.report import (
    Detected,
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
    Replaced,
    Report,
    StoredError,
    Summary,
    fused_filename,
)

if TYPE_CHECKING:  # the steps make the job, the report reads it
    from app.engine.programs import ProgramEvidence, ProgramJob

_SHOWN = 3
_NAMES = {"onnx": "ONNX graph", "onnx-zip": "ONNX graph", "pt2": "torch.export program"}


def equivalence_of(job: ProgramJob, figures: Figures, native: torch.dtype, device: str, passed: bool) -> Equivalence:
    """The three figures; always end to end, from input to output and on both sides of what is not read."""
    return Equivalence(
        scope="model",
        identity=IdentityError(relative=figures.identity),
        stored=StoredError(relative=figures.stored, noise=figures.stored_noise),
        native=NativeError(
            relative=figures.native,
            absolute=figures.native_absolute,
            noise=figures.native_noise,
            dtype=dtype_name(native),
        ),
        probe=Probe(
            shape=tuple(value.shape for value in job.program.graph.inputs),
            seed=SEED,
            device=device,
            source="seeded" if job.given is None else "caller",
        ),
        passed=passed,
    )


def report_of(
    job: ProgramJob,
    fusion: ProgramFusion,
    evidence: ProgramEvidence | None,
    after: Census,
    listed: Sequence[Listed],
    defaults: Sequence[str],
    equivalence: Equivalence | None,
    asked: Asked,
    digests: tuple[str, str],
    seconds: Mapping[str, float],
) -> Report:
    refused, replaced = _refused(job, fusion), _all_replaced(fusion, evidence)
    tree = tree_of_operators(job.dialect.listed(job.file), listed, fusion, [part.path for part in refused])
    before, work = job.census, totals_of_program(fusion)
    return Report(
        summary=Summary(
            parameters_before=before.parameters,
            parameters_after=after.parameters,
            batch_norms_before=before.batch_norms,
            batch_norms_after=after.batch_norms,
            convolutions_before=before.convolutions,
            convolutions_after=after.convolutions,
            operators_before=before.operators,
            operators_after=after.operators,
            multiply_adds_before=work.before,
            multiply_adds_after=work.after,
            layers_replaced=len(replaced),
            layers_refused=len(refused),
            layers_removed=0,
            bytes_stripped=0,
            bytes_saved_by_fusing=before.bytes - after.bytes,
        ),
        input=_input(job, asked.source, asked.filename, digests[0]),
        output=OutputFile(
            filename=fused_filename(asked.filename),
            bytes=asked.target.stat().st_size,
            sha256=digests[1],
            format=job.kind.code,
        ),
        equivalence=equivalence,
        tree=tree,
        replaced=replaced,
        refused=refused,
        removed=(),
        read_as=_read_as(job),
        globals=job.file.globals,
        notes=(*_notes(job, fusion, evidence, refused), *_default_notes(job, defaults), *notes_on(tree)),
        timings_seconds={**seconds, "total": round(sum(seconds.values()), 6)},
        environment=environment_of(asked.device),
    )


def inspection_of(job: ProgramJob, source: Path, filename: str, digest: str) -> Inspection:
    return Inspection(
        input=_input(job, source, filename, digest),
        read_as=_read_as(job),
        globals=job.file.globals,
        notes=(
            *(f"{part.path}: {part.reason}" for part in job.program.skipped),
            *_default_notes(job, job.dialect.defaults(job.file)),
        ),
    )


def _all_replaced(fusion: ProgramFusion, evidence: ProgramEvidence | None) -> tuple[Replaced, ...]:
    """Of the graph, then of the graphs within its operators."""
    proofs = evidence.bodies if evidence else (None,) * len(fusion.bodies)
    inner = (
        part.model_copy(update={"path": f"{one.body.path}/{part.path}"})
        for one, proof in zip(fusion.bodies, proofs, strict=True)
        for part in _replaced(one.fusion, proof)
    )
    return (*_replaced(fusion, evidence), *inner)


def _replaced(fusion: ProgramFusion, evidence: ProgramEvidence | None) -> tuple[Replaced, ...]:
    proofs = evidence.baseline.proof.regions if evidence else (None,) * len(fusion.replacements)
    return tuple(
        Replaced(
            path=part.path,
            read_as=part.read_as,
            before=part.before,
            after=part.after,
            parameters_before=part.region.pending.cost.parameters,
            parameters_after=part.parameters,
            assumed=False,
            error=RegionError(identity=proof.identity, native=proof.native) if proof else None,
        )
        for part, proof in zip(fusion.replacements, proofs, strict=True)
    )


def _refused(job: ProgramJob, fusion: ProgramFusion) -> tuple[Refused, ...]:
    """What could have been folded and was not, and what was not read; each reason once, in order."""
    left = [(cut.path, cut.code, cut.reason) for cut in fusion.cuts]
    followed = {node.owner for one in fusion.bodies for node in one.fusion.program.graph.nodes}
    withheld = [part for part in job.program.withheld if part.code != "within-a-body" or part.path not in followed]
    unread = [(part.path, part.code, part.reason) for part in (*withheld, *job.program.skipped)]
    inner = [
        (f"{one.body.path}/{path}", code, reason) for one in fusion.bodies for path, code, reason in _told(one.fusion)
    ]
    found = dict.fromkeys([*left, *unread, *inner])
    return tuple(Refused(path=path, code=code, reason=reason) for path, code, reason in found)


def _told(fusion: ProgramFusion) -> Iterator[tuple[str, str, str]]:
    """What stays in a graph within an operator, and why."""
    yield from ((cut.path, cut.code, cut.reason) for cut in fusion.cuts)
    program = fusion.program
    yield from ((part.path, part.code, part.reason) for part in (*program.withheld, *program.skipped))


def _read_as(job: ProgramJob) -> tuple[ReadAs, ...]:
    counts = Counter(type(node.operation).__name__ for node in job.program.graph.nodes)
    return tuple(
        ReadAs(class_path=name, read_as=_NAMES[job.kind.code], count=count) for name, count in sorted(counts.items())
    )


def _notes(
    job: ProgramJob, fusion: ProgramFusion, evidence: ProgramEvidence | None, refused: Sequence[Refused]
) -> tuple[str, ...]:
    notes = []
    if not fusion.replacements and not any(one.fusion.replacements for one in fusion.bodies):
        notes.append(nothing_replaced(refused))
    if job.program.skipped:
        notes.append(f"{len(job.program.skipped)} operators are not read: what lies beside them is fused all the same")
    if evidence is not None and evidence.note:
        notes.append(evidence.note)
    return tuple(notes)


def _default_notes(job: ProgramJob, left: Sequence[str]) -> Iterator[str]:
    """What became of initializers that a caller may override."""
    before = job.dialect.defaults(job.file)
    gone = [name for name in before if name not in left]
    if gone:
        yield (
            f"{len(gone)} initializers that were inputs as well are constants now, and no inputs any more "
            f"({_some(gone)}): a caller that gave them has to stop"
        )
    elif before:
        yield (
            f"{len(before)} initializers are inputs as well ({_some(before)}), so that a caller may override them: "
            "they and what reads them are left as they are; if nobody does, pass overridable=fold"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _input(job: ProgramJob, source: Path, filename: str, digest: str) -> InputFile:
    return InputFile(
        filename=filename,
        bytes=source.stat().st_size,
        sha256=digest,
        format=job.kind.code,
        detected=detected_of(job),
    )


def detected_of(job: ProgramJob) -> Detected:
    """What was recognised in a graph file."""
    return Detected(
        family=None,
        source="",
        model_class=_NAMES[job.kind.code],
        dtype=dtype_name(job.census.dtype),
        parameters=job.census.parameters,
        batch_norms=job.census.batch_norms,
        convolutions=job.census.convolutions,
        input_size=job.program.graph.inputs[0].shape if job.program.inputs else None,
    )
