"""The models of the installed packages, by name. The packages are imported when an upload asks for them."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from app.engine.zoo.index import read_index
from app.engine.zoo.operators import defined
from app.engine.zoo.request import PACKAGES, Plain, Request
from app.errors import InvalidOption, UnknownArchitecture, UnsupportedContent

_SHOWN = 8
_QUANTISED = "quantized_"  # their weights are no floats: nothing is fused there
Build = Callable[[Mapping[str, Plain]], torch.nn.Module]


def installed() -> tuple[str, ...]:
    """Those of the packages that are there."""
    return tuple(package for package in PACKAGES if find_spec(package) is not None)


def importable(package: str) -> None:
    """Import the package. Raises UnknownArchitecture where that fails: it was built for another torch, most often."""
    try:
        defined()
        import_module(f"{package}.models")
    except Exception as error:  # whatever the package's code makes of this machine
        raise UnknownArchitecture(
            f"{package} is installed here, and can't be imported: {type(error).__name__}: {str(error)[:200]}",
            remedy="Ask the operator for the builds of torchvision and timm that belong to this build of torch.",
        ) from error


def builders(request: Request) -> dict[str, Build]:
    """How to build the model, by package: more than one where the caller names none and several have the name.

    Raises UnknownArchitecture, with near matches, for a name that no package has.
    """
    asked = (request.package,) if request.package else PACKAGES
    there = [package for package in asked if package in installed()]
    if not there:
        raise UnknownArchitecture(
            f"architecture names {request.text[:100]!r}, and {' and '.join(asked)} are not installed here.",
            remedy="Ask the operator to install the extra: pip install 'fusebox[zoo]'",
        )
    for package in there:
        importable(package)
    found = {package: _BUILDERS[package](request.name) for package in there if _has(package, request.name)}
    if not found:
        near = near_matches(request.name)
        raise UnknownArchitecture(
            f"architecture names {request.name[:100]!r}, of which {' and '.join(there)} know nothing.",
            remedy=f"Near it are {', '.join(near)}." if near else "Upload the whole model instead of a state dict.",
            near_matches=near,
        )
    return found


def is_known(name: str) -> bool:
    """Whether the name says its package, or some package has a model of it, be it installed or not."""
    package, _, bare = name.rpartition("/")
    return bool(package) or any(f"{one}/{bare.partition('.')[0]}" in _all_names() for one in PACKAGES)


def near_matches(name: str) -> list[str]:
    """Names that look like this one, each with its package."""
    bare = name.rpartition("/")[2].partition(".")[0].lower()
    names: dict[str, str] = {}
    for full in _all_names():
        names.setdefault(full.rpartition("/")[2], full)
    found = difflib.get_close_matches(bare, names, n=_SHOWN, cutoff=0.6)
    within = [known for known in names if bare in known and known not in found]
    return [names[known] for known in (*found, *within)[:_SHOWN]]


@cache
def _all_names() -> tuple[str, ...]:
    """Every model of the index: all packages, be they installed or not."""
    return tuple(read_index().names)


def names_of(package: str) -> tuple[str, ...]:
    """Every model of an installed package."""
    return _names(package)


def _has(package: str, name: str) -> bool:
    return name.partition(".")[0] in _names(package)


@cache
def _names(package: str) -> tuple[str, ...]:
    if package == "torchvision":
        names: list[str] = import_module("torchvision.models").list_models()
        return tuple(name for name in names if not name.startswith(_QUANTISED))
    return tuple(import_module("timm").list_models())


def _torchvision(name: str) -> Build:
    """A builder of torchvision; a backbone's weights would be fetched unless they are declined."""
    builder: Any = import_module("torchvision.models").get_model_builder(name)
    taken = inspect.signature(builder).parameters
    declined: dict[str, Any] = {one: None for one in ("weights", "weights_backbone") if one in taken}
    return lambda arguments: _called(name, lambda: builder(**declined, **arguments))


def _timm(name: str) -> Build:
    create: Any = import_module("timm").create_model
    return lambda arguments: _called(name, lambda: create(name, pretrained=False, **arguments))


def _called(name: str, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """What the package builds; that it does not take these arguments is the caller's problem, whatever it raises."""
    try:
        return build().eval()
    except UnsupportedContent:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError, IndexError) as error:
        raise InvalidOption(
            f"architecture {name!r} can't be built with these arguments: {type(error).__name__}: {str(error)[:300]}",
            remedy="Give the arguments with which the model was made, by the names that the package has for them.",
        ) from error
    except NotImplementedError as error:
        raise InvalidOption(f"architecture {name!r} can't be built: {str(error)[:300]}") from error


_BUILDERS: Mapping[str, Callable[[str], Build]] = {"torchvision": _torchvision, "timm": _timm}
