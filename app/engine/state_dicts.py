"""State dicts and safetensors: the steps of the pipeline for files that hold weights without the model."""

from collections.abc import Mapping
from pathlib import Path

from app.engine.ir.module import Module
from app.engine.latency import Contest, Unmeasured
from app.engine.latency.modules import contest_of_unit
from app.engine.modules import edited, judge, prove_units, unmeasured
from app.engine.probes import Given
from app.engine.reporting import recognised_of
from app.engine.steps import Asked, Steps
from app.engine.weights.asked import blueprint_of
from app.engine.weights.choice import planned
from app.engine.weights.container import Container, Tensors
from app.engine.weights.job import WeightsJob, job_of
from app.engine.weights.on_inputs import on_inputs
from app.engine.weights.soundness import check_numbers
from app.engine.weights.testimony import testimony_on
from app.engine.weights.tree import in_order, load, names_of
from app.engine.weights.weights_report import detected_of, inspection_of, pruned_of, report_of
from app.engine.weights.wide import widened
from app.engine.work import Dropped, Evidence, Plan
from app.options import FuseOptions
from app.report import Equivalence, Inspection, Recognised, Report


def read_from(container: Container, options: FuseOptions, given: Given | None = None) -> WeightsJob:
    """The model that the caller says the weights belong to, around the tensors of the file."""
    prefix, blueprint = blueprint_of(container, options)
    if given is not None:
        blueprint = on_inputs(blueprint, given)
    return job_of(container, prefix, blueprint, options.architecture)


def recognised(job: WeightsJob) -> Recognised:
    """What is told of the file before anything is fused."""
    return recognised_of(detected_of(job), job.container.format)


def plan(job: WeightsJob, options: FuseOptions) -> Plan:
    """What is to be replaced."""
    check_numbers(job.blueprint.units)
    return planned(job, options)


def prove(job: WeightsJob, plan: Plan, device: str) -> Evidence:
    """Prove every block before anything is written."""
    return prove_units(job.blueprint.module, plan, device)


def write(job: WeightsJob, plan: Plan, options: FuseOptions, target: Path) -> Dropped:
    """Edit the tree (the plan keeps what it needs of the original), and write its tensors by their names."""
    edit = edited(plan, job.blueprint.module)
    tensors = _named(job)
    try:
        stripped = job.container.write(widened(tensors) if options.dtype == "float32" else tensors, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Dropped(stripped, pruned_of(job), edit)


def _named(job: WeightsJob) -> Tensors:
    """All tensors of the edited tree and beside it, in the order of the file, with its prefix."""
    found = {job.prefix + name: node for name, node in names_of(job.blueprint.module)}
    found.update({job.restored(name): node for name, node in job.blueprint.loose.items()})
    return in_order(job.names(), found)


def measure(
    job: WeightsJob, plan: Plan, evidence: Evidence, options: FuseOptions, target: Path, device: str
) -> Equivalence:
    """Read the written file back, run its blocks, and compare. Raises NotEquivalent, and then leaves no file."""

    after = job.container.again(target)

    def written() -> Module:
        load(job.blueprint.module, job.prefix, after)
        return job.blueprint.module

    return judge(written, plan, evidence, options, target, device, testimony_on(job, plan, after, evidence, device))


def contest(job: WeightsJob, plan: Plan, evidence: Evidence, asked: Asked) -> Contest | Unmeasured:
    """The graph that was proved, and the same with what was written; `measure` has read that into the tree."""
    if (reason := unmeasured(plan)) is not None:
        return reason
    (unit, _), *_ = plan.fusions
    return contest_of_unit(unit, lambda: unit.again(job.blueprint.module).graph, evidence.native, asked.device)


def report(
    job: WeightsJob,
    plan: Plan,
    evidence: Evidence | None,
    dropped: Dropped,
    equivalence: Equivalence | None,
    asked: Asked,
    digests: tuple[str, str],
    seconds: Mapping[str, float],
) -> Report:
    """The report on a file of weights."""
    return report_of(job, plan, evidence, dropped, equivalence, asked, digests, seconds)


def inspect(container: Container, source: Path, filename: str, sha256: str) -> Inspection:
    """What is in the file, and what it may belong to."""
    return inspection_of(container, source, filename, sha256)


def steps_for(container: Container) -> Steps[WeightsJob, Plan, Evidence, Dropped]:
    """The steps for a file whose tensors were found already."""
    return Steps(
        read=lambda _, options, given: read_from(container, options, given),
        recognised=recognised,
        plan=plan,
        prove=prove,
        write=write,
        measure=measure,
        contest=contest,
        report=report,
    )
