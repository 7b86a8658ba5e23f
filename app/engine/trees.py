"""Module trees: the steps of the pipeline for checkpoints that hold pickled modules."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from app.engine.caller_plan import read_plan
from app.engine.formats import TorchFile, read_file, write_file
from app.engine.forward.families import family_of
from app.engine.forward.torch_nn.settings import check_settings
from app.engine.fuse.census import count, widen
from app.engine.fuse.pairs import with_pairs
from app.engine.fuse.units import find_units
from app.engine.ir.checkpoint import find_model, strip, total_bytes
from app.engine.ir.members import check_members
from app.engine.ir.module import Module
from app.engine.latency import Contest, Unmeasured
from app.engine.latency.modules import contest_of_trees
from app.engine.modules import edited, judge, plan_units, prove_units, unmeasured
from app.engine.probes import Given
from app.engine.probes.units import described_at, followed
from app.engine.reporting import detected_of, input_of, read_as, recognised_of, report_of
from app.engine.steps import Asked, Steps, refuse_options, refuse_strict_plan
from app.engine.weights.soundness import check_layers
from app.engine.work import Dropped, Evidence, Job, Plan
from app.errors import InvalidOption
from app.options import FuseOptions
from app.report import Equivalence, Inspection, Recognised, Removed, Report


def read_from(file: TorchFile, options: FuseOptions | None = None, given: Given | None = None) -> Job:
    """The model in a file that was read, and what it counts before anything changes."""
    found = find_model(file.root)  # First: of a file without a model, no option is what is wrong.
    if options is not None:
        _check_options(options)
    check_members(found.module)
    check_settings(found.module)
    return Job(file, found, count(found.module), total_bytes(found.module.node), given)


def _check_options(options: FuseOptions) -> None:
    if options.probe_shape is not None:
        raise InvalidOption(
            f"probe_shape is {options.probe_shape[:100]!r}, and the file is a checkpoint of pickled modules.",
            remedy="Leave it out: it is for ONNX and .pt2 files. Descriptions of modules say what they take.",
            option="probe_shape",
        )
    refuse_strict_plan(options)
    refuse_options(options, "a checkpoint of pickled modules", "architecture", "output", "overridable")


def plan(job: Job, options: FuseOptions) -> Plan:
    """What is to be replaced, as far as the file proves what follows what, or the caller says it."""
    root = job.found.module
    units = find_units(root)
    inputs: tuple[Tensor, ...] | None = None
    if job.given is not None:
        units, inputs = followed(job.given, units, root, described_at(root))
    if options.plan is not None:
        units = with_pairs(root, units, read_plan(options.plan))
    for unit in units.units:
        check_layers(unit.trace.graph)
    return plan_units(root, units, job.census.dtype, options, inputs)


def prove(job: Job, plan: Plan, device: str) -> Evidence:
    """Prove every unit before anything is written."""
    return prove_units(job.found.module, plan, device)


def write(job: Job, plan: Plan, options: FuseOptions, target: Path) -> Dropped:
    """Edit the tree (the plan keeps what it needs of the original) and write it."""
    root = job.found.module
    stripped = tuple(strip(job.file.root, job.found))
    edit = edited(plan, root)
    pruned = tuple(part for unit, _ in plan.fusions for part in _pruned(unit.module))
    if options.dtype == "float32":
        widen(root)
    try:
        write_file(job.file, job.file.root, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Dropped(stripped, pruned, edit)


def _pruned(module: Module) -> list[Removed]:
    """Take out the layers that inference never reads."""
    family = family_of(module)
    parts = family.prune(module) if family is not None and family.prune is not None else ()
    return [Removed(path=part.path, reason=part.reason, bytes=part.bytes) for part in parts]


def measure(job: Job, plan: Plan, evidence: Evidence, options: FuseOptions, target: Path, device: str) -> Equivalence:
    """Read the written file back, run it, and compare. Raises NotEquivalent, and then leaves no file."""
    return judge(lambda: find_model(read_file(target).root).module, plan, evidence, options, target, device)


def contest(job: Job, plan: Plan, evidence: Evidence, asked: Asked) -> Contest | Unmeasured:
    """Both files anew: what was read first is edited by now."""
    if (reason := unmeasured(plan)) is not None:
        return reason
    before, after = (find_model(read_file(path).root).module for path in (asked.source, asked.target))
    shapes = plan.units.units[0].shapes
    return contest_of_trees(before, after, shapes, plan.inputs is not None, evidence.native, asked.device)


def report(
    job: Job,
    plan: Plan,
    evidence: Evidence | None,
    dropped: Dropped,
    equivalence: Equivalence | None,
    asked: Asked,
    digests: tuple[str, str],
    seconds: Mapping[str, float],
) -> Report:
    """The report on a module tree."""
    paths = (asked.source, asked.target)
    return report_of(job, plan, dropped, evidence, equivalence, seconds, paths, digests, asked.filename, asked.device)


def recognised(job: Job) -> Recognised:
    """What is told of the file before anything is fused."""
    return recognised_of(detected_of(job), job.file.format)


def inspect_job(job: Job, source: Path, filename: str, sha256: str) -> Inspection:
    """What is in the file, before anything is fused."""
    units = find_units(job.found.module)
    notes = [] if units.whole else ["the outermost class is not described: its known blocks are fused one by one"]
    return Inspection(
        input=input_of(job, source, sha256, filename),
        read_as=read_as(units),
        globals=job.file.globals,
        notes=tuple(notes),
    )


def steps_for(file: TorchFile) -> Steps[Job, Plan, Evidence, Dropped]:
    """The steps for a file that was read already."""
    return Steps(
        read=lambda _, options, given: read_from(file, options, given),
        recognised=recognised,
        plan=plan,
        prove=prove,
        write=write,
        measure=measure,
        contest=contest,
        report=report,
    )
