"""Which model the tensors of a file are the weights of: names and shapes compared, classes and channels inferred."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch

from app.engine.zoo.abstract import abstract
from app.engine.zoo.catalogue import Build, builders
from app.engine.zoo.deployed import in_own_form
from app.engine.zoo.request import Plain, Request

Shape = tuple[int, ...]
_COUNTER: Final = "num_batches_tracked"  # torch's own loader does without it


@dataclass(frozen=True, slots=True)
class Difference:
    """How a file's tensors differ from a model's: names on one side only, and shapes (of the model, of the file)."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: Mapping[str, tuple[Shape, Shape]]

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model and how the file's tensors differ from its own; `model` takes no memory.

    `inferred` are the arguments that the shapes told, `others` the packages that have a model of the same name with the
    same tensors, too; `deployed` is true where blocks of the file are in the form that their class deploys already.
    """

    request: Request
    build: Build
    model: torch.nn.Module
    difference: Difference
    inferred: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    deployed: bool = False


def fitted(asked: Request, shapes: Mapping[str, Shape]) -> Fitted:
    """The model that was asked for; of several of that name the one that the tensors fit best, the first of equals."""
    found = [_fit(replace(asked, package=package), build, shapes) for package, build in builders(asked).items()]
    best = min(found, key=lambda fit: fit.difference.count)
    others = [fit for fit in found if fit is not best and fit.difference.count == 0 == best.difference.count]
    return replace(best, others=tuple(str(fit.request.package) for fit in others))


def difference(model: torch.nn.Module, shapes: Mapping[str, Shape]) -> Difference:
    """What loading these tensors strictly would complain of."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = tuple(name for name in wanted if name not in shapes and not name.endswith(_COUNTER))
    unexpected = tuple(name for name in shapes if name not in wanted)
    other = {name: (wanted[name], shapes[name]) for name in wanted if name in shapes and wanted[name] != shapes[name]}
    return Difference(missing, unexpected, other)


def _fit(named: Request, build: Build, shapes: Mapping[str, Shape]) -> Fitted:
    """The model as asked for, with the classes and channels that the shapes tell where that brings it nearer."""
    first = _as_it_is_or_deployed(named, build, shapes)
    told = {name: value for name, value in _told(first, named).items() if name not in named.arguments}
    if not told:
        return first
    again = _as_it_is_or_deployed(replace(named, arguments={**named.arguments, **told}), build, shapes)
    return replace(again, inferred=tuple(told)) if again.difference.count < first.difference.count else first


def _as_it_is_or_deployed(request: Request, build: Build, shapes: Mapping[str, Shape]) -> Fitted:
    """The model as it is trained, or with some of its blocks in their deploy form where all names then are the file's.

    Shapes may still differ then: they tell classes and channels.
    """
    trained = _built(request, build, shapes)
    if not (trained.difference.missing and trained.difference.unexpected):
        return trained
    try:
        formed = _built(request, lambda arguments: in_own_form(build(arguments), shapes), shapes)
    except Exception:  # whatever the package's own code makes of tensors that have no values
        return trained
    named = not (formed.difference.missing or formed.difference.unexpected)
    return replace(formed, deployed=True) if named else trained


def _built(request: Request, build: Build, shapes: Mapping[str, Shape]) -> Fitted:
    model = abstract(lambda: build(request.arguments), len(shapes))
    return Fitted(request, build, model, difference(model, shapes))


def _told(first: Fitted, named: Request) -> dict[str, Plain]:
    """`num_classes` where only rows differ, `in_chans` where only a convolution's input channels do."""
    told: dict[str, Plain] = {}
    apart = first.difference
    for wanted, found in apart.shapes.values():
        if len(wanted) == len(found) and wanted[1:] == found[1:]:
            told.setdefault("num_classes", found[0])
        elif len(wanted) == len(found) >= 3 and (wanted[0], *wanted[2:]) == (found[0], *found[2:]):
            told.setdefault("in_chans", found[1])
    if named.package == "torchvision":
        told.pop("in_chans", None)  # its builders take none
    elif apart.missing and not (apart.unexpected or apart.shapes) and hasattr(first.model, "get_classifier"):
        told["num_classes"] = 0  # a backbone without its classifier
    return told
