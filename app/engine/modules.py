"""What trees of pickled modules and trees built around a state dict have in common: plan, proof and verdict."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from app.engine.forward.families import family_of
from app.engine.fuse.census import first_not_finite
from app.engine.fuse.replace import Fusion, apply, plan_fusion
from app.engine.fuse.replacement import withheld
from app.engine.fuse.survey import survey
from app.engine.fuse.units import Unit, Units
from app.engine.interpret.lockstep import Fused
from app.engine.ir.module import Module
from app.engine.ir.node import Object
from app.engine.latency import NOTHING_REPLACED, WHOLE_ONLY, Unmeasured
from app.engine.layers import Edit, sketch
from app.engine.probes.fit import check_runs
from app.engine.reporting import equivalence_of
from app.engine.verify.compare import silent
from app.engine.verify.equivalence import Figures, failure, measure_original, measure_written
from app.engine.verify.probes import probe
from app.engine.verify.written import missing
from app.engine.work import Evidence, Plan
from app.errors import NotEquivalent, UnsupportedContent
from app.options import FuseOptions
from app.report import Equivalence

# The dtypes that models run in; most of a model may be stored in another, and unpacked by its own code.
_RUN_IN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Figures with what a witness saw in them, and who that was or why there is none.
Testify = Callable[[Figures], tuple[Figures, str]]


def plan_units(
    root: Module,
    units: Units,
    stored: torch.dtype,
    options: FuseOptions,
    inputs: tuple[Tensor, ...] | None = None,
) -> Plan:
    """What is to be replaced in each unit. `stored` is the dtype of most of the parameters."""
    wanted = torch.float32 if options.dtype == "float32" else None
    tree = survey(root)
    fusions, refused = [], list(units.unknown)
    for unit in units.units:
        fusion = plan_fusion(unit.trace, tree, wanted)
        if options.strict:
            fusion = _without_assumed(unit, fusion)
        refused.extend(fusion.cuts)
        fusions.append((unit, fusion))
    return Plan(units, tuple(fusions), tuple(refused), _native_dtype(root, stored, wanted), inputs)


def _without_assumed(unit: Unit, fusion: Fusion) -> Fusion:
    reason = "how its parts follow one another is usual, but not proved by the file (strict=true)"
    assumed = [part for part in fusion.replacements if unit.assumes(part.region)]
    cuts = [cut for part in assumed for cut in withheld(part, "data-flow-assumed", reason)]
    kept = tuple(part for part in fusion.replacements if part not in assumed)
    return replace(fusion, replacements=kept, cuts=(*fusion.cuts, *cuts))


def _native_dtype(root: Module, stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """The dtype in which the loader of this file runs the model."""
    family = family_of(root)
    if family is not None and family.runs_in is not None:
        named: torch.dtype = getattr(torch, family.runs_in)
        return named
    return wanted or (stored if stored in _RUN_IN else torch.float32)


def prove_units(root: Module, plan: Plan, device: str) -> Evidence:
    """Prove every unit; in a wider dtype where the native one can't hold what the original makes of the probe.

    So too where torch has no kernel for an operator in that dtype on this device.
    """
    if plan.inputs is not None:
        check_runs(plan.units.units[0].trace.graph, plan.inputs, device)
    for native in dict.fromkeys((plan.native, torch.float32, torch.float64)):
        try:
            evidence = _prove_in(native, plan, device)
        except NotImplementedError:
            if native.itemsize >= torch.float32.itemsize:
                raise
            continue
        if all(unit.finite for unit in evidence.units):
            break
    if any(silent(unit.proof.outputs) for unit in evidence.units):
        where = first_not_finite(root)
        raise UnsupportedContent(
            f"the model's outputs are not finite numbers{f', as {where} is not' if where else ''}: "
            "nothing that fusing changes could be seen in them",
            remedy="upload a checkpoint whose training did not diverge",
        )
    return evidence


def _prove_in(native: torch.dtype, plan: Plan, device: str) -> Evidence:
    units, regions = [], {}
    for unit, fusion in plan.fusions:
        inputs = plan.inputs or probe(unit.shapes, images=plan.units.whole)
        baseline = measure_original(unit.trace.graph, _fused(fusion), inputs, native, device)
        units.append(baseline)
        found = zip(fusion.replacements, baseline.proof.regions, strict=True)
        regions.update({id(part): proof for part, proof in found})
    return Evidence(tuple(units), regions, native)


def _fused(fusion: Fusion) -> list[Fused]:
    return [Fused(part.region, part.weight, part.bias) for part in fusion.replacements]


def edited(plan: Plan, root: Module) -> Edit:
    """Edit the tree as planned; what it was before, and where each replacement stands now."""
    before = sketch(root)
    standing: dict[int, Object] = {}
    for _, fusion in plan.fusions:
        standing.update(apply(fusion, root))
    return Edit(before, standing)


def unmeasured(plan: Plan) -> Unmeasured | None:
    """Why the model can't be timed before and after; None if it can."""
    if not any(fusion.replacements for _, fusion in plan.fusions):
        return Unmeasured(NOTHING_REPLACED)
    return None if plan.units.whole else Unmeasured(WHOLE_ONLY)


def judge(
    written: Callable[[], Module],
    plan: Plan,
    evidence: Evidence,
    options: FuseOptions,
    target: Path,
    device: str,
    testify: Testify = lambda figures: (figures, ""),
) -> Equivalence:
    """Run the written file, read back, and compare. Raises NotEquivalent, and then leaves no file.

    `testify` puts in what somebody else saw who ran it.
    """
    try:
        figures, witness = testify(_figures(written(), plan, evidence, device))
        problem = failure(figures, tuple(evidence.regions.values()), options.max_error)
        equivalence = equivalence_of(figures, plan, evidence.native, device, problem is None, witness)
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


def _figures(written: Module, plan: Plan, evidence: Evidence, device: str) -> Figures:
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
