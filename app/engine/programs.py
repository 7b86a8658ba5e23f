"""Graph files: the steps of the pipeline for formats that hold the data flow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.engine.dialects import Dialect, dialect_of
from app.engine.formats.detect import Kind, detect
from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.fuse.census import Census
from app.engine.fuse.programs import BodyFusion, ProgramFusion, plan_program
from app.engine.interpret.lockstep import Fused
from app.engine.interpret.numeric import run
from app.engine.ir.program import Port, Program, told
from app.engine.latency import NOTHING_REPLACED, Contest, Unmeasured
from app.engine.latency.programs import Programs, Side, contest_of_programs
from app.engine.probes import Given, fitted, invalid_probe, shapes_of
from app.engine.probes.fit import check_runs
from app.engine.program_report import detected_of, equivalence_of, inspection_of, report_of
from app.engine.reporting import dtype_name, recognised_of
from app.engine.steps import Asked, Steps, refuse_options
from app.engine.verify.compare import silent
from app.engine.verify.equivalence import Baseline, See, failure, measure_elsewhere, measure_original, measure_written
from app.engine.verify.onnx_runtime import CannotRun
from app.engine.verify.probes import typed_probe
from app.engine.verify.sizes import candidates, check_elements, given_shapes, others, timed
from app.engine.verify.written import missing
from app.engine.weights.soundness import check_layers
from app.errors import InvalidOption, NotEquivalent, UnsupportedContent
from app.options import FuseOptions
from app.report import Equivalence, Inspection, Recognised, Report

_LIMITS = Limits()
Shapes = Mapping[str, tuple[int, ...]]
# How a file, followed as this program, is run to see what its loader will see.
RunBy = Callable[[Path, Program], See]


@dataclass(frozen=True, slots=True)
class ProgramJob:
    """What was read: the file, its computation at the probe's shapes, and its counts."""

    path: Path
    dialect: Dialect
    kind: Kind
    file: Any
    ports: tuple[Port, ...]
    shapes: Shapes
    program: Program
    census: Census
    sizes: Shapes  # that the caller gave, by input
    given: tuple[Tensor, ...] | None = None  # the caller's own inputs, in the order of the program's


@dataclass(frozen=True, slots=True)
class ProgramEvidence:
    """What was proved before writing, and what gives the native figures."""

    baseline: Baseline
    inputs: tuple[Tensor, ...]
    run_by: RunBy
    native: torch.dtype
    note: str
    bodies: "tuple[ProgramEvidence | None, ...]" = ()  # of the graphs within operators, where any is changed


def read(source: Path, options: FuseOptions, given: Given | None = None) -> ProgramJob:
    """The graph in the file, followed at shapes that all of it takes, as far as there are such."""
    refuse_options(options, "a graph file", "architecture", "plan", "output")
    mapped = MappedFile(source)
    kind = detect(mapped, _LIMITS)
    dialect = dialect_of(kind, options.overridable == "fold")
    file = dialect.read(mapped, _LIMITS)
    ports = dialect.ports(file)
    inputs = None if given is None else _inputs(given, ports, options)
    sizes = given_shapes(options.probe_shape, ports) if inputs is None else _sizes(ports, inputs)
    shapes, program = _followed(dialect, file, ports, sizes, inputs is not None)
    census = dialect.count(file)
    if options.dtype == "float32" and census.dtype in (torch.float16, torch.bfloat16):
        raise InvalidOption(
            f"dtype is 'float32', and the edges of this graph are typed {dtype_name(census.dtype)}.",
            remedy="Leave dtype out, or export the model in float32.",
        )
    ordered = None if inputs is None else _ordered(inputs, ports, program)
    return ProgramJob(source, dialect, kind, file, ports, shapes, program, census, sizes, ordered)


def _inputs(given: Given, ports: tuple[Port, ...], options: FuseOptions) -> tuple[Tensor, ...]:
    if options.probe_shape is not None:
        raise InvalidOption(
            f"probe_shape is {options.probe_shape[:100]!r}, and probe gives inputs, which have shapes.",
            remedy="Leave probe_shape out.",
            option="probe_shape",
        )
    return fitted(given, ports)


def _sizes(ports: tuple[Port, ...], inputs: tuple[Tensor, ...]) -> Shapes:
    return dict(zip(_names(ports), shapes_of(inputs), strict=True))


def _names(ports: tuple[Port, ...]) -> list[str]:
    return [port.name for port in ports]


def _ordered(inputs: tuple[Tensor, ...], ports: tuple[Port, ...], program: Program) -> tuple[Tensor, ...]:
    named = dict(zip(_names(ports), inputs, strict=True))
    return tuple(named[name] for name in program.inputs)


def _followed(
    dialect: Dialect, file: Any, ports: tuple[Port, ...], sizes: Shapes, probed: bool
) -> tuple[Shapes, Program]:
    """The first shapes with which every operator can be read, else those with which most can."""
    best: tuple[Shapes, Program] | None = None
    tried: set[tuple[tuple[int, ...], ...]] = set()
    for shapes in _proposed(dialect, file, ports, sizes, probed):
        key = tuple(shapes.values())
        if key in tried:
            continue
        tried.add(key)
        check_elements(shapes)
        program = dialect.follow(file, shapes)
        if best is None or len(program.skipped) < len(best[1].skipped):
            best = shapes, program
        if not program.skipped:
            break
    assert best is not None
    return best


def _proposed(dialect: Dialect, file: Any, ports: tuple[Port, ...], fixed: Shapes, probed: bool) -> Iterator[Shapes]:
    """Shapes to try, as the file's own ranges allow them; those at which it was exported come second."""
    names = frozenset(fixed)
    for number, shapes in enumerate(candidates(ports, fixed)):
        settled = dialect.settle(file, shapes, names)
        why = dialect.misfit(file, settled) if fixed else None
        if why is not None and probed:
            raise invalid_probe(f"does not fit the program: {why}", "Give inputs of other sizes.")
        if why is not None:
            raise InvalidOption(f"probe_shape does not fit the program: {why}.", remedy="Give other sizes.")
        yield settled
        told = dialect.exported_at(file) if number == 0 else None
        if told is not None:
            yield dialect.settle(file, {**told, **fixed}, names)


def plan(job: ProgramJob, options: FuseOptions) -> ProgramFusion:
    """What is to be replaced, and the graph that results."""
    check_layers(job.program.graph)
    fusion = plan_program(job.program, job.dialect.operators_of)
    found = []
    for body in job.dialect.bodies(job.file, job.program):
        program = job.dialect.follow(body.file, body.shapes)
        found.append(BodyFusion(body, plan_program(program, job.dialect.operators_of)))
    return replace(fusion, bodies=tuple(found))


def _within(job: ProgramJob, part: BodyFusion) -> ProgramJob:
    """The job of a graph within an operator, which no runtime runs alone."""
    dialect = replace(job.dialect, run=None)
    file, program = part.body.file, part.fusion.program
    return replace(job, dialect=dialect, file=file, shapes=part.body.shapes, program=program, given=None)


def prove(job: ProgramJob, fusion: ProgramFusion, device: str) -> ProgramEvidence:
    """Prove each region in lockstep, and measure the original's own noise with what will run it."""
    # Also what operators put out that nobody reads: as large as the file says.
    check_elements({f"number {at}": value.shape for at, value in enumerate(job.program.graph.inputs)})
    inputs = typed_probe([(value.shape, value.dtype) for value in job.program.graph.inputs])
    if job.given is not None:
        # What operators put out that are not read is seeded all the same.
        inputs = [*job.given, *inputs[len(job.given) :]]
        check_runs(told(job.program.graph), inputs, device)
    for way in _ways_to_run(job, inputs, device):
        native, run_by, note = way
        see = run_by(job.path, job.program)
        basis, original = told(fusion.basis), told(job.program.graph)
        baseline = measure_original(basis, _fused(fusion), inputs, native, device, see, original)
        if baseline.finite:
            break
    if silent(baseline.proof.outputs):
        raise UnsupportedContent(
            "the model's outputs are not finite numbers: nothing that fusing changes could be seen in them",
            remedy="upload a model whose training did not diverge, or give a probe_shape that it takes",
        )
    bodies = tuple(
        prove(_within(job, part), part.fusion, device) if part.fusion.replacements else None for part in fusion.bodies
    )
    return ProgramEvidence(baseline, tuple(inputs), run_by, native, note, bodies)


def _ways_to_run(job: ProgramJob, inputs: Sequence[Tensor], device: str) -> Iterator[tuple[torch.dtype, RunBy, str]]:
    """The format's own runtime, where it runs the whole file; else the numeric reading, as the file says or wider."""
    stored, note = job.census.dtype, ""
    if job.dialect.run is not None:
        note = "the native figures are of the numeric reading"
    if job.dialect.run is not None and not job.program.skipped:
        names, own = job.program.inputs, job.dialect.run
        try:
            seen = own(job.path, names, inputs, device)
            yield (
                stored,
                lambda path, _: lambda given: seen if path == job.path else own(path, names, given, device),
                "",
            )
        except CannotRun as error:
            note += f", as onnxruntime can't run the model ({error})"
    yield stored, lambda _, program: lambda given: run(told(program.graph), given, None, device), note
    for wider in (torch.float32, torch.float64):
        yield wider, _numeric(wider, device), f"the native figures are of the numeric reading, in {dtype_name(wider)}"


def _numeric(dtype: torch.dtype, device: str) -> RunBy:
    return lambda _, program: lambda given: run(told(program.graph), given, dtype, device)


def _fused(fusion: ProgramFusion) -> list[Fused]:
    return [Fused(part.region, part.weight, part.bias) for part in fusion.replacements]


def write(job: ProgramJob, fusion: ProgramFusion, options: FuseOptions, target: Path) -> None:
    """Write the file with the rewritten graph."""
    try:
        changed = [(one.body, one.fusion.program, one.fusion.graph) for one in fusion.bodies if one.fusion.replacements]
        file = job.dialect.with_bodies(job.file, changed) if changed else job.file
        job.dialect.write(file, fusion.program, fusion.graph, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def measure(
    job: ProgramJob, fusion: ProgramFusion, evidence: ProgramEvidence, options: FuseOptions, target: Path, device: str
) -> Equivalence:
    """Read the written file back, run it, and compare. Raises NotEquivalent, and then leaves no file."""
    try:
        return _measured(job, fusion, evidence, options, target, device)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _measured(
    job: ProgramJob, fusion: ProgramFusion, evidence: ProgramEvidence, options: FuseOptions, target: Path, device: str
) -> Equivalence:
    written = _reread(job, target)
    after = job.dialect.follow(written, job.shapes)
    _check_alike(job.program, after)
    lost = missing(after.graph, _fused(fusion))
    if lost is not None:
        raise NotEquivalent(f"the written file does not hold the convolution of {lost.region.nodes[-1].owner}")
    see = evidence.run_by(target, after)
    around = _around(job, fusion, written)
    apart = after if around is written else job.dialect.follow(around, job.shapes)
    _check_alike(job.program, apart)
    figures = measure_written(evidence.baseline, told(apart.graph), evidence.native, device, see)
    problem = failure(figures, evidence.baseline.proof.regions, options.max_error)
    problem = problem or _problem_elsewhere(job, around, device)
    problem = problem or _problem_within(job, fusion, evidence, options, (written, after), device)
    equivalence = equivalence_of(job, figures, evidence.native, device, problem is None)
    if problem is not None:
        raise NotEquivalent(
            problem,
            remedy="the model is not returned; pass a larger max_error if you set one",
            equivalence=equivalence.model_dump(mode="json"),  # null where a figure is not finite
        )
    return equivalence


def _around(job: ProgramJob, fusion: ProgramFusion, written: Any) -> Any:
    """The written file with the bodies of the one that was read: their rounding is measured where they are alone.

    The native figures are of the file as it was written.
    """
    changed = [one.body for one in fusion.bodies if one.fusion.replacements]
    return job.dialect.restored(written, job.file, changed) if changed else written


def _problem_within(
    job: ProgramJob,
    fusion: ProgramFusion,
    evidence: ProgramEvidence,
    options: FuseOptions,
    written: tuple[Any, Program],
    device: str,
) -> str | None:
    """What is wrong with a graph within an operator, each tried alone: a run of the whole takes some of them only."""
    found = {body.path: body for body in job.dialect.bodies(*written)}
    for part, proved in zip(fusion.bodies, evidence.bodies, strict=True):
        if proved is None:
            continue
        body = found[part.body.path]
        after = job.dialect.follow(body.file, body.shapes)
        _check_alike(part.fusion.program, after)
        if missing(after.graph, _fused(part.fusion)) is not None:
            return f"the graph {part.body.path} is not the one that was proved"
        see = proved.run_by(job.path, after)
        figures = measure_written(proved.baseline, told(after.graph), proved.native, device, see)
        problem = failure(figures, proved.baseline.proof.regions, options.max_error)
        if problem is not None:
            return f"{part.body.path}: {problem}"
    return None


def _reread(job: ProgramJob, target: Path) -> Any:
    return job.dialect.read(MappedFile(target), _LIMITS)


def _check_alike(before: Program, after: Program) -> None:
    """The written file must have kept its face. Raises NotEquivalent."""
    faces = [(one.inputs, one.outputs, one.defaults, len(one.graph.inputs)) for one in (before, after)]
    # Fewer are not read where the writer made one operator of several, as of concatenations in a row.
    if faces[0] != faces[1] or len(after.skipped) > len(before.skipped):
        raise NotEquivalent("the written file has other inputs, outputs or unread operators than the one that was read")


def _problem_elsewhere(job: ProgramJob, written: Any, device: str) -> str | None:
    """What goes wrong at other sizes, if the file leaves sizes open: nothing that was replaced may rest on one."""
    for proposed in others(job.ports, bool(job.sizes)):
        shapes = job.dialect.settle(job.file, proposed, frozenset())
        if shapes == job.shapes:
            continue
        before, after = (job.dialect.follow(file, shapes) for file in (job.file, written))
        if before.skipped != job.program.skipped:
            continue  # these sizes do not suit the model
        _check_alike(before, after)
        inputs = typed_probe([(value.shape, value.dtype) for value in before.graph.inputs])
        return measure_elsewhere(told(before.graph), told(after.graph), inputs, device)
    return None


def contest(job: ProgramJob, fusion: ProgramFusion, evidence: ProgramEvidence, asked: Asked) -> Contest | Unmeasured:
    """Both files, run by what runs such files."""
    if not fusion.replacements and not any(one.fusion.replacements for one in fusion.bodies):
        return Unmeasured(NOTHING_REPLACED)

    def shapes(batch: int) -> Iterator[Shapes]:
        for proposed in timed(job.ports, job.sizes, batch):
            yield job.dialect.settle(job.file, proposed, frozenset(job.sizes))
        yield job.shapes

    sides = Side(job.path, job.file), Side(asked.target, _reread(job, asked.target))
    both = Programs(job.dialect, *sides, len(job.program.skipped), shapes)
    return contest_of_programs(both, asked.device, dtype_name(job.census.dtype))


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
    """The report on a graph file."""
    written = _reread(job, asked.target)
    census, defaults = job.dialect.count(written), job.dialect.defaults(written)
    after = job.dialect.listed(written)
    return report_of(job, fusion, evidence, census, after, defaults, equivalence, asked, digests, seconds)


def recognised(job: ProgramJob) -> Recognised:
    """What is told of the file before anything is fused."""
    return recognised_of(detected_of(job), job.kind.code)


def inspect(source: Path, filename: str, sha256: str) -> Inspection:
    """What is in the file, before anything is fused. Raises AppError."""
    return inspection_of(read(source, FuseOptions()), source, filename, sha256)


STEPS = Steps(
    read=read,
    recognised=recognised,
    plan=plan,
    prove=prove,
    write=write,
    measure=measure,
    contest=contest,
    report=report,
)
