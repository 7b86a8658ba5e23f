"""torchvision and timm as those who know architectures: a model around the tensors of a file, its data flow proven."""

import torch

from app.engine.fuse.units import Unit, Units, uncovered
from app.engine.ir.module import Module
from app.engine.weights.blueprint import Blueprint, Mismatch
from app.engine.weights.container import Tensors, stored
from app.engine.weights.wanted import Architecture
from app.engine.zoo.export import exported
from app.engine.zoo.fit import Difference, Fitted, fitted
from app.engine.zoo.flow import traced
from app.engine.zoo.request import Request, request_of
from app.engine.zoo.rewritten import Again
from app.engine.zoo.sizes import candidates, own_size
from app.engine.zoo.tree import tree_of

_INSTALL = "the package is not installed here: ask the operator for pip install 'fusebox[zoo]'"


def build(wanted: Architecture, tensors: Tensors) -> Blueprint | Mismatch:
    """The model of that name. Raises AppError for arguments that it does not take, and where no export follows it."""
    asked = request_of(wanted.name, wanted.arguments)
    shapes = {name: stored(node).shape for name, node in tensors.items()}
    fit = fitted(asked, shapes)
    if fit.difference.count:
        return _mismatch(fit.difference)
    return _blueprint(fit, tensors)


def _mismatch(apart: Difference) -> Mismatch:
    shapes = tuple(f"{name}: {found}, should be {wanted}" for name, (wanted, found) in apart.shapes.items())
    return Mismatch(apart.missing, apart.unexpected, shapes)


def _blueprint(fit: Fitted, tensors: Tensors) -> Blueprint:
    with torch.random.fork_rng(devices=[]):
        model = fit.build(fit.request.arguments).requires_grad_(False)
    root = tree_of(model, tensors)
    unit = _unit(model, root, fit.request)
    return Blueprint(
        root,
        Units(True, (unit,), tuple(uncovered(root, (unit,), ""))),
        loose={},
        family=str(fit.request.package),
        read_as=f"{fit.request.package} {fit.request.name}",
        variant=fit.request.name,
        classes=_classes(model),
        input_size=own_size(model, fit.request),
        notes=tuple(_notes(fit)),
    )


def _unit(model: torch.nn.Module, root: Module, request: Request) -> Unit:
    """The whole model, as torch.export follows it."""
    flow = exported(model, tuple(candidates(model, request)), request.text)
    trace = traced(flow.program(), flow.stacks, root)
    shapes = tuple(value.shape for value in trace.graph.inputs)
    return Unit(root, shapes, trace, Again.of(trace, root), assumed=False)


def _classes(model: torch.nn.Module) -> int | None:
    """How many the last Linear of the model tells apart."""
    layers = [module.out_features for module in model.modules() if isinstance(module, torch.nn.Linear)]
    found = getattr(model, "num_classes", None)
    return found if isinstance(found, int) else layers[-1] if layers else None
