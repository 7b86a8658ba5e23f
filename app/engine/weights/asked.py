"""From the caller's options to the model that a file's weights belong to; without them, what it may be."""

from app.engine.caller_plan import CallerPlan, invalid_plan, read_plan
from app.engine.steps import refuse_options, refuse_strict_plan
from app.engine.weights.blueprint import Blueprint
from app.engine.weights.container import Container
from app.engine.weights.forms.found import forms_found
from app.engine.weights.naming import prefixes
from app.engine.weights.planned import planned
from app.engine.weights.providers import best_matches, build, without
from app.engine.weights.tree import tree_of
from app.engine.weights.wanted import read_architecture
from app.errors import InvalidOption, NeedsArchitecture
from app.options import FuseOptions


def blueprint_of(container: Container, options: FuseOptions) -> tuple[str, Blueprint]:
    """The prefix of the file's names, and the model. Raises NeedsArchitecture where the caller says nothing of it."""
    _check(options)
    if options.plan is not None:
        return _planned(read_plan(options.plan), container)
    if options.architecture is not None:
        return build(read_architecture(options.architecture), container)
    raise needs_architecture(container)


def _check(options: FuseOptions) -> None:
    if options.architecture is not None and options.plan is not None:
        raise InvalidOption(
            "architecture and plan are both given: one of them says which layer feeds which norm.",
            remedy="Leave one out.",
            option="plan",
        )
    refuse_strict_plan(options)
    refuse_options(options, "one of weights alone", "overridable")
    if options.output != "keep" and options.architecture is None:
        raise InvalidOption(
            f"output is {options.output!r}, and a program can be made of the weights of an architecture only.",
            remedy="Give architecture=, or leave output out: the file comes back as it is, fused.",
            option="output",
        )
    if options.probe_shape is not None:
        raise InvalidOption(
            f"probe_shape is {options.probe_shape[:100]!r}, and the file holds weights alone.",
            remedy="Leave it out: it is for ONNX and .pt2 files.",
            option="probe_shape",
        )


def _planned(plan: CallerPlan, container: Container) -> tuple[str, Blueprint]:
    """The plan's paths may be written with the prefix of the file's names or without."""
    for prefix in dict.fromkeys(("", *prefixes(container.tensors))):
        found = planned(plan, without(prefix, container.tensors))
        if isinstance(found, Blueprint):
            return prefix, found
    path = plan.paths[0]
    names = ", ".join(list(container.tensors)[:4])
    raise invalid_plan(path, f"is no module that the names of the file speak of, nor is any other path ({names}, ...)")


def needs_architecture(container: Container) -> NeedsArchitecture:
    """The problem of a file of weights of which nobody says what they belong to, with what they may belong to."""
    matches = best_matches(container)
    where = f"{len(container.tensors):,} tensors" + (f" under {container.key!r}" if container.key else "")
    likely = f"Best match: architecture={matches[0].architecture} ({matches[0].why}). " if matches else ""
    parts = "".join(f"; {sentence}" for sentence in forms_found(tree_of(container.tensors)[0]))
    return NeedsArchitecture(
        f"the file holds a state dict ({where}): names and weights, "
        f"but neither the layers' eps nor the data flow{parts}",
        remedy=f"{likely}Say what it is with architecture=NAME, or which layer feeds which norm with plan=, "
        "or upload the whole model: torch.save({'model': model}, 'model.pt')",
        matches=[{"architecture": one.architecture, "score": round(one.score, 4), "why": one.why} for one in matches],
    )
