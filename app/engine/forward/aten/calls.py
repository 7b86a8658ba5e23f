"""Operators of the file as calls of torch's: arguments by the operator's own schema, values in the place of names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from app.engine.forward.aten.argument_types import fits
from app.engine.forward.aten.emitter import unread
from app.engine.forward.aten.invocation import Invocation, taken_apart
from app.engine.ir.exported import Operator
from app.engine.ir.graph import Const, Value

PREFIX: Final = "torch.ops.aten."
# Where and how a tensor lies: the run's own device counts, and layout changes no number.
_PLACES: Final = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})
_SIZES: Final = frozenset({"size", "shape", "repeats", "output_size", "sizes"})
_MAX_ELEMENTS: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class Place:
    """What the file says around an operator."""

    in_order: bool = False  # its first tensor lies in memory in order
    restored: bool = False  # the only reader of its rows gives them back the shape that they had


@dataclass(frozen=True, slots=True)
class Call:
    """One operator with its arguments. `arguments` has those that the file gives, `defaults` all others."""

    name: str  # "conv2d.default"
    owner: str
    overload: Any  # torch._ops.OpOverload
    arguments: Mapping[str, Any]
    defaults: Mapping[str, Any]
    varies: bool  # a size that may differ is among the arguments
    place: "Place"

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument] if argument in self.arguments else self.defaults[argument]

    def __contains__(self, argument: str) -> bool:
        return argument in self.arguments or argument in self.defaults

    def get(self, argument: str, otherwise: Any = None) -> Any:
        """The argument, if the operator has one of this name."""
        return self.arguments.get(argument, self.defaults.get(argument, otherwise))

    def tensors(self) -> list[Value | Const]:
        """Every tensor among the arguments, in order."""
        return list(_tensors(list(self.arguments.values())))

    def invocation(self, like: Any) -> tuple[Invocation, list[Value | Const]]:
        """The call without its tensors, and these."""
        args, kwargs = self.ordered()
        return taken_apart(self.overload, args, kwargs, like)

    def ordered(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional as long as none is left out, by name from there on; `self` is a name only by position."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.overload._schema.arguments:
            if parameter.name not in self.arguments or parameter.name in _PLACES:
                if not parameter.kwarg_only and parameter.name not in _PLACES and not kwargs:
                    args.append(self.defaults[parameter.name])
            elif parameter.kwarg_only or parameter.name in _PLACES:
                kwargs[parameter.name] = self.arguments[parameter.name]
            else:
                args.append(self.arguments[parameter.name])
        return tuple(args), kwargs


_NOWHERE: Final = Place()


def _tensors(arg: Any) -> Iterator[Value | Const]:
    if isinstance(arg, (Value, Const)):
        yield arg
    elif isinstance(arg, (list, tuple)):
        for part in arg:
            yield from _tensors(part)


def overload_of(name: str) -> Any:
    """torch's own operator; only to be asked for names of the tables in `allowed`."""
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet, None), overload, None)


def bound(operator: Operator, name: str, given: Mapping[str, Any], varies: bool, place: Place = _NOWHERE) -> Call:
    """The operator as a call of torch's `aten::name`. Raises UnknownFlow where it is not called as its schema says."""
    overload = overload_of(name)
    if overload is None:
        raise unread(operator.owner, "operator-not-read", f"this version of torch has no operator aten::{name}")
    parameters = {parameter.name: parameter for parameter in overload._schema.arguments}
    if not set(given) <= set(parameters):
        strange = sorted(set(given) - set(parameters))
        raise unread(operator.owner, "operator-not-read", f"aten::{name} has no argument {strange[0]}")
    for parameter in parameters.values():
        if parameter.name in given and not fits(str(parameter.type), given[parameter.name]):
            why = f"the argument {parameter.name} of aten::{name} is of a kind that is not read"
            raise unread(operator.owner, "operator-not-read", why)
    defaults = {}
    for parameter in parameters.values():
        if parameter.name not in given:
            if not parameter.has_default_value():
                raise unread(operator.owner, "operator-not-read", f"aten::{name} lacks the argument {parameter.name}")
            defaults[parameter.name] = parameter.default_value
    call = Call(name, operator.owner, overload, given, defaults, varies, place)
    _check(call)
    return call


def _check(call: Call) -> None:
    for argument, value in call.arguments.items():
        if argument in _SIZES and isinstance(value, list):
            elements = prod(max(1, abs(part)) for part in value if isinstance(part, int))
            if elements > _MAX_ELEMENTS:
                raise unread(call.owner, "too-large", f"aten::{call.name} would make {elements:,} numbers")
