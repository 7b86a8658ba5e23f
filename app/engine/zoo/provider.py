"""torchvision and timm as those who know architectures: a model around the tensors of a file, its data flow proven."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from app.engine.forward.family import Shapes
from app.engine.fuse.units import Unit, Units, find_units, uncovered
from app.engine.ir.module import Module
from app.engine.ir.program import Program
from app.engine.weights.blueprint import Blueprint, Match, Mismatch, Provider
from app.engine.weights.container import Tensors, stored
from app.engine.weights.wanted import Architecture
from app.engine.zoo.catalogue import installed, is_known, near_matches
from app.engine.zoo.deployed import loaded
from app.engine.zoo.export import Flow, exported
from app.engine.zoo.fit import Difference, Fitted, fitted
from app.engine.zoo.flow import traced
from app.engine.zoo.index import similar
from app.engine.zoo.program_file import write_program
from app.engine.zoo.request import Request, is_name, request_of
from app.engine.zoo.rewritten import Again
from app.engine.zoo.sizes import candidates, own_size
from app.engine.zoo.tree import tree_of
from app.engine.zoo.witness import Witness

_EXAMPLES = ("torchvision/resnet50", "timm/repvgg_a0")


def fit_of(wanted: Architecture, tensors: Tensors) -> Fitted:
    """The model of that name and how the tensors differ from its own. Raises AppError for what it does not take."""
    shapes = tuple((name, stored(node).shape) for name, node in tensors.items())
    asked = request_of(wanted.name, wanted.arguments)
    return fitted(asked, dict(shapes))


def _build(wanted: Architecture, tensors: Tensors) -> Blueprint | Mismatch:
    fit = fit_of(wanted, tensors)
    apart = mismatch(fit.difference) if fit.difference.count else _kinds(fit, tensors)
    return _blueprint(fit, tensors) if apart is None else apart


def _kinds(fit: Fitted, tensors: Tensors) -> Mismatch | None:
    """What is a weight in the model and whole numbers in the file: quantised weights are of another model."""
    wrong = tuple(
        f"{name}: {str(stored(tensors[name]).dtype).removeprefix('torch.')}, should be a float dtype"
        for name, own in fit.model.state_dict().items()
        if own.is_floating_point() and name in tensors and not stored(tensors[name]).dtype.is_floating_point
    )
    return Mismatch(shapes=wrong) if wrong else None


def mismatch(apart: Difference) -> Mismatch:
    """The difference in the words of the state-dict side."""
    shapes = tuple(f"{name}: {_sizes(found)}, should be {_sizes(own)}" for name, (own, found) in apart.shapes.items())
    return Mismatch(apart.missing, apart.unexpected, shapes)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def built(fit: Fitted) -> torch.nn.Module:
    """The model with fresh weights; the random numbers that others draw stay the same."""
    with torch.random.fork_rng(devices=[]):
        return fit.build(fit.request.arguments).requires_grad_(False)


def _blueprint(fit: Fitted, tensors: Tensors) -> Blueprint:
    model = built(fit)
    root = tree_of(model, tensors)
    unit, notes = _unit(model, root, fit.request)
    return Blueprint(
        root,
        Units(True, (unit,), tuple(uncovered(root, (unit,), ""))),
        loose={},
        family=str(fit.request.package),
        read_as=f"{fit.request.package} {fit.request.name}",
        variant=fit.request.name,
        classes=classes_of(model),
        input_size=own_size(model, fit.request),
        notes=(*notes_on(fit), *notes),
        witness=Witness(str(fit.request.package), lambda: built(fit), lambda: _read(tensors)),
        export=lambda path, kind, wide: _export(fit, tensors, path, kind, wide),
        described=lambda: find_units(root),
        at=lambda shapes: _unit_at(model, root, fit.request, shapes),
    )


def _export(fit: Fitted, tensors: Tensors, path: Path, kind: str, wide: bool) -> None:
    """At the size that the package says first: the program is for that one."""
    model = loaded(built(fit), _read(tensors))
    sizes = (own_size(model, fit.request), *candidates(model, fit.request))
    write_program(model.float() if wide else model, sizes, kind, path, fit.request.text)


def _read(tensors: Tensors) -> Mapping[str, Tensor]:
    return {name: stored(node).read() for name, node in tensors.items()}


def _unit(model: torch.nn.Module, root: Module, request: Request) -> tuple[Unit, list[str]]:
    """The whole model, as torch.export follows it, and what of that can't be read."""
    flow = exported(model, tuple(candidates(model, request)), request.text)
    program = flow.program()
    notes = [f"{part.path}: {part.reason}; what lies beside it is fused all the same" for part in program.skipped]
    return _unit_of(program, flow, root), notes


def _unit_at(model: torch.nn.Module, root: Module, request: Request, shapes: Shapes) -> Unit:
    """The same from an input of this shape. Raises UnsupportedContent."""
    flow = exported(model, [shapes[0][1:]], request.text)
    return _unit_of(flow.program(shapes[0][0]), flow, root)


def _unit_of(program: Program, flow: Flow, root: Module) -> Unit:
    trace = traced(program, flow.stacks, root)
    shapes = tuple(value.shape for value in trace.graph.inputs)
    return Unit(root, shapes, trace, Again.of(trace, root), assumed=False)


def classes_of(model: torch.nn.Module) -> int | None:
    """How many the model says that it tells apart, else its last Linear."""
    found = getattr(model, "num_classes", None)
    layers = [module.out_features for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return found if isinstance(found, int) else layers[-1] if layers else None


def notes_on(fit: Fitted) -> Iterator[str]:
    """What was decided without being asked."""
    if fit.inferred:
        given = ", ".join(f"{name}={fit.request.arguments[name]}" for name in fit.inferred)
        yield f"{given} follows from the shapes: the model is {fit.request.text}"
    if fit.deployed:
        yield "some blocks are in the form already that their class deploys; the others are fused"
    if fit.others:
        yield (
            f"{fit.request.name} is a model of {' and of '.join((str(fit.request.package), *fit.others))} with the "
            f"same tensors: {fit.request.package}'s was taken; write {fit.others[0]}/{fit.request.name} for the other"
        )


@lru_cache(maxsize=4)
def _similar(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[Match, ...]:
    there = installed()
    return tuple(
        Match(one.name, one.score, f"{one.score:.0%} of names and shapes{_extra(one.name, there)}")
        for one in similar(dict(shapes))
    )


def _extra(name: str, there: Sequence[str]) -> str:
    """What has to be installed first."""
    return "" if name.partition("/")[0] in there else "; the worker needs pip install 'fusebox[zoo]' for it"


def _matches(tensors: Tensors) -> Sequence[Match]:
    return _similar(tuple((name, stored(node).shape) for name, node in tensors.items()))


ZOO_PROVIDER = Provider(
    name="torchvision and timm",
    knows=lambda name: is_name(name) and is_known(name),
    build=_build,
    matches=_matches,
    listed=lambda: _EXAMPLES,
    near=near_matches,
)
