"""Which of two readings of a model is fused: the operators as they run, or what its classes say that they compute."""

from app.engine.forward.structure import is_batch_norm
from app.engine.fuse.units import Units
from app.engine.ir.module import Module
from app.engine.modules import plan_units
from app.engine.weights.job import WeightsJob
from app.engine.work import Plan
from app.options import FuseOptions


def planned(job: WeightsJob, options: FuseOptions) -> Plan:
    """The plan that takes in more batch norms; of equals the first, which rests on the model's own code.

    A description may write a norm down behind what commutes with it, once for each of the layers that read it.
    """
    blueprint = job.blueprint
    root, norms = blueprint.module, _norms(blueprint.module)
    first = plan_units(root, blueprint.units, job.census.dtype, options, blueprint.inputs)
    if blueprint.described is None or _taken_in(first, norms) == len(norms):
        return first
    units: Units = blueprint.described()
    if not units.whole:
        return first
    second = plan_units(root, units, job.census.dtype, options, blueprint.inputs)
    return second if _taken_in(second, norms) > _taken_in(first, norms) else first


def _norms(root: Module) -> set[str]:
    return {module.path for module in root.walk() if is_batch_norm(module)}


def _taken_in(plan: Plan, norms: set[str]) -> int:
    """How many of the norms lie in regions that are replaced."""
    nodes = [node for _, fusion in plan.fusions for part in fusion.replacements for node in part.region.nodes]
    holders = {path.rpartition(".")[0] for node in nodes for const in node.consts() for path in const.paths}
    return len(norms & (holders | {node.owner for node in nodes}))
