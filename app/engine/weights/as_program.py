"""`output=pt2` and `output=onnx`: weights that come back as a program which runs without the model's code.

The architecture's own model is exported with the file's weights as it is; what is fused and proved is that program.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.engine import programs
from app.engine.fuse.programs import ProgramFusion
from app.engine.probes import Given
from app.engine.programs import ProgramEvidence, ProgramJob
from app.engine.reporting import recognised_of
from app.engine.steps import Asked, Steps
from app.engine.weights.asked import blueprint_of
from app.engine.weights.container import Container
from app.engine.weights.job import WeightsJob, job_of
from app.engine.weights.weights_report import detected_of
from app.errors import InvalidOption
from app.options import FuseOptions
from app.report import Equivalence, InputFile, Recognised, Report, fused_filename


def steps_for(
    container: Container, options: FuseOptions, target: Path
) -> Steps[ProgramJob, ProgramFusion, ProgramEvidence, None]:
    """The steps of programs, on a file that is made beside the target and removed in the end."""
    exported = target.with_name(f"{target.name}.exported.{options.output}")
    weights = _weights(container, options)

    def read(source: Path, options: FuseOptions, given: Given | None) -> ProgramJob:
        export = weights.blueprint.export
        assert export is not None
        export(exported, options.output, options.dtype == "float32")
        plain = options.model_copy(update={"architecture": None, "output": "keep"})
        return programs.read(exported, plain, given)

    def report(
        job: ProgramJob,
        fusion: ProgramFusion,
        evidence: ProgramEvidence | None,
        dropped: None,
        equivalence: Equivalence | None,
        asked: Asked,
        digests: tuple[str, str],
        seconds: Mapping[str, float],
    ) -> Report:
        found = programs.report(job, fusion, evidence, dropped, equivalence, asked, digests, seconds)
        exported.unlink(missing_ok=True)
        return _told(found, weights, asked, digests[0], options.output)

    return replace(programs.STEPS, read=read, recognised=lambda _: _recognised(weights), report=report)


def _weights(container: Container, options: FuseOptions) -> WeightsJob:
    prefix, blueprint = blueprint_of(container, options)
    if blueprint.export is None:
        raise InvalidOption(
            f"output is {options.output!r}, and only the weights of {blueprint.read_as} can be given back.",
            remedy="Leave output out: the file comes back as it is, fused.",
            option="output",
        )
    return job_of(container, prefix, blueprint, options.architecture)


def _recognised(weights: WeightsJob) -> Recognised:
    return recognised_of(detected_of(weights), weights.container.format)


def _told(report: Report, weights: WeightsJob, asked: Asked, digest: str, kind: str) -> Report:
    """The report on the program, with the file of weights as its input."""
    given = InputFile(
        filename=asked.filename,
        bytes=asked.source.stat().st_size,
        sha256=digest,
        format=weights.container.format,
        detected=detected_of(weights),
    )
    name = fused_filename(asked.filename).rpartition(".")[0]
    output = report.output.model_copy(update={"filename": f"{name}.{kind}"})
    return report.model_copy(
        update={
            "input": given,
            "output": output,
            "globals": weights.container.globals,
            "notes": (*weights.blueprint.notes, *report.notes),
        }
    )
