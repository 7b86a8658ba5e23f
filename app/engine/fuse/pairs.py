"""The caller's plan on a tree of pickled modules: each pair as a unit of its own, beside those that are proved."""

from app.engine.caller_plan import CallerPlan, Pair, invalid_plan
from app.engine.forward.families import family_of
from app.engine.forward.structure import below
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.units import Unit, Units, blocks, run_unit
from app.engine.ir.module import Module

READ_AS = "caller's plan"
_KINDS = {"conv": ".conv.", "linear": ".linear.", "norm": ".batchnorm."}


def with_pairs(root: Module, units: Units, plan: CallerPlan) -> Units:
    """The units, and those pairs of the plan whose layers no unit reads already. Raises InvalidPlan."""
    for form in plan.forms:
        raise invalid_plan(form, "is for state dicts: modules of a file say themselves what their weights are made of")
    for pair in plan.pairs:
        _check(root, pair)
    if units.whole:
        return units
    read = {node.owner for unit in units.units for node in unit.trace.graph.nodes}
    pairs = tuple(pair_unit(root, pair) for pair in plan.pairs if not _is_read(pair, read))
    return blocks(root, (*units.units, *pairs), units.reason)


def _is_read(pair: Pair, read: set[str]) -> bool:
    """Whether a description reads both layers: then it knows better. Raises InvalidPlan where it reads one."""
    known = [path for path in pair.paths if path in read]
    if len(known) == 1:
        raise invalid_plan(known[0], "is read as a part of a block that is known, and its partner is not")
    return bool(known)


def pair_unit(root: Module, pair: Pair) -> Unit:
    """A pair as a unit. Raises InvalidPlan where its layers do not fit each other."""
    try:
        return run_unit(root, pair.paths, assumed=True, read_as=READ_AS)
    except UnknownFlow as unknown:
        raise invalid_plan(unknown.path or pair.norm, f"can't be paired so: {unknown.reason}") from None


def _check(root: Module, pair: Pair) -> None:
    """Both layers are in the file, of the kinds that the plan says, with an eps that it does not contradict."""
    layer, norm = _found(root, pair.layer), _found(root, pair.norm)
    kind = "conv" if pair.conv is not None else "linear"
    for module, wanted in ((layer, kind), (norm, "norm")):
        if _KINDS[wanted] not in module.class_path or family_of(module) is None:
            raise invalid_plan(module.path, f"is a {module.class_path}, which is not read as a {wanted}")
    eps = norm.attribute("eps", 1e-5)
    if pair.eps is not None and pair.eps != eps:
        raise invalid_plan(pair.norm, f"has eps {eps} in the file, and {pair.eps} in the plan")


def _found(root: Module, path: str) -> Module:
    module = below(root, path)
    if module is None:
        raise invalid_plan(path, "is no module of the file")
    return module
