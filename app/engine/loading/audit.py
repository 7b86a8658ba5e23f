"""Goes through a pickle's objects and names, and lists what a loader would run beyond building modules and tensors."""

from collections.abc import Iterator
from typing import Any, Final

from app.engine.formats import TorchFile
from app.engine.ir.checkpoint import inside
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import REBUILD_FROM_TYPE, is_tensor
from app.engine.loading.allowed import Allowed
from app.engine.loading.calls import FUNCTIONS, instantiated, may_be_called
from app.engine.loading.instances import may_be_instantiated
from app.engine.loading.names import is_held
from app.engine.loading.states import Known, shadowed
from app.errors import UnsafeGlobals

_SHOWN: Final = 12
_LISTED: Final = 200
_LONGEST: Final = 200


def check_loading(file: TorchFile, allowed: Allowed) -> None:
    """Raises UnsafeGlobals with the names of all that must not be in a file that is handed back."""
    found = unsafe_names(file, allowed)
    if not found:
        return
    shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    raise UnsafeGlobals(
        f"the pickle in the file refers to {len(found)} names that a loader would run, beyond building modules and "
        f"tensors: {shown}",
        remedy="Save the model without them, or have the operator of this service allow the names of your own "
        "packages (FUSEBOX_ALLOWED_GLOBALS).",
        names=list(found[:_LISTED]),
    )


def unsafe_names(file: TorchFile, allowed: Allowed) -> tuple[str, ...]:
    """The names, sorted. Nothing of them is imported to find out."""
    unsafe: set[str] = set()
    held: list[Any] = [file.root]
    known: Known = {}
    for node in file.objects:
        unsafe.update(_of_object(node, allowed, known))
        held.extend((_kept(node), node.kwargs, *node.items, node.pairs, node.state))
    taken = {node.origin for node in file.objects if isinstance(node.origin, Global)}
    taken |= {node.args[0] for node in file.objects if _carries_attributes(node)}
    taken |= {node.setter for node in file.objects if isinstance(node.setter, Global)}
    # What is in neither place was taken off the stack again: a loader has imported it all the same.
    values = set(_values(held)) | (file.names - taken)
    unsafe.update(name.path for name in values - {FUNCTIONS} if not is_held(name) and name.path not in allowed)
    return tuple(sorted(name[:_LONGEST] for name in unsafe))


def _kept(node: Object) -> Any:
    """The arguments that a call keeps: the first of a tensor with attributes is called, and known to be harmless."""
    return node.args[3] if _carries_attributes(node) else node.args


def _carries_attributes(node: Object) -> bool:
    return node.origin == REBUILD_FROM_TYPE and is_tensor(node)


def _values(held: list[Any]) -> Iterator[Global]:
    """All names within containers; objects are looked at one by one."""
    seen: set[int] = set()
    while held:
        value = held.pop()
        if isinstance(value, Global):
            yield value
        elif isinstance(value, (list, tuple, dict, set, frozenset)) and id(value) not in seen:
            seen.add(id(value))
            held.extend(inside(value))


def _of_object(node: Object, allowed: Allowed, known: Known) -> Iterator[str]:
    """What of one object is unsafe: what it is made by, its setter, and attributes that shadow what is called."""
    made_of = instantiated(node)
    if made_of is not None:
        if made_of.path not in allowed and not may_be_instantiated(made_of, node):
            yield made_of.path
    elif not may_be_called(node) and _called(node.origin) not in allowed:
        yield _called(node.origin)
    if node.setter is not None and _called(node.setter) not in allowed:
        yield _called(node.setter)
    owner = _called(made_of or node.origin)
    if owner not in allowed:
        yield from (f"{owner}.{name}" for name in shadowed(node, known))


def _called(origin: Any) -> str:
    """The name that a call goes back to, also where it calls what another call gave."""
    depth = 0
    while isinstance(origin, Object) and depth < _LONGEST:
        origin, depth = origin.origin, depth + 1
    return origin.path if isinstance(origin, Global) else "?"
