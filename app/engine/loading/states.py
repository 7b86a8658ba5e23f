"""What a state must not set: attributes that Python, copy or torch look up on the instance and then call or trust."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from torch import Tensor, nn

from app.engine.ir.module import class_of, is_module, mapping
from app.engine.ir.node import MISSING, Global, Object
from app.engine.ir.tensors import is_tensor

OPTIMIZED: Final = Global("torch._dynamo.eval_frame", "OptimizedModule")
CONTEXT: Final = Global("torch._dynamo.eval_frame", "OptimizeContext")

_DUNDER: Final = re.compile(r"__\w+__")
_HARMLESS: Final = frozenset({"__wrapped__"})  # of functools.wraps
# Settings of torch.compile: a compiler's path is one of them.
_SETTINGS: Final = ("config", "compiler_config", "kwargs")
_COMPILERS: Final = ("torch._TorchCompile", "torch._dynamo.")
# Objects without methods of their own: with one of these names they would be taken for a table, a tensor or a module.
_BARE: Final = frozenset(
    {
        *("argparse.Namespace", "types.SimpleNamespace", "collections.OrderedDict", "collections.defaultdict"),
        *("collections.Counter", "collections.deque"),
    }
)
_METHODS: Final = frozenset(
    {
        *(*dir(OrderedDict), *dir(list), *dir(Tensor), *dir(nn.Module), "extra_repr", "forward"),
        *("write", "writelines", "read", "readline", "flush", "close"),  # of a file
    }
)
_OPTIMIZERS: Final = ("torch.optim.", "timm.optim.")
_MOST_LAYERS: Final = 1000


# What was found in a container, by its id and what was asked: any number of objects may have the same one.
Known = dict[tuple[int, str], tuple[str, ...]]


def shadowed(node: Object, known: Known) -> Iterator[str]:
    """Names of attributes by which the object would be taken for another one, or told what to run."""
    yield from _once(known, node.state, "shadows", lambda: _shadowing(node.state))
    if isinstance(node.origin, Global) and node.origin.path.startswith(_COMPILERS) and isinstance(node.state, dict):
        yield from (key for key in _SETTINGS if not _are_switches(node.state.get(key)))
    if node.state is not MISSING:
        yield from _trusted(node, known)


def _once(known: Known, container: Any, question: str, look: Callable[[], Iterable[str]]) -> tuple[str, ...]:
    key = (id(container), question)
    if key not in known:
        known[key] = tuple(look())
    return known[key]


def _shadowing(state: Any) -> Iterator[str]:
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from (key for key, value in part.items() if _shadows(key, value))


def _methods_in(state: dict[Any, Any]) -> Iterator[str]:
    return (key for key, value in state.items() if key in _METHODS and _is_callable(value))


def _trusted(node: Object, known: Known) -> Iterator[str]:
    """What the class's own `__setstate__` and methods would call or count by, without a look at what it is."""
    owner = class_of(node) or node.origin
    path = owner.path if isinstance(owner, Global) else ""
    state = node.state if isinstance(node.state, dict) else None
    if path in _BARE:
        yield from ("state",) if state is None else _once(known, state, "methods", lambda: _methods_in(state))
    elif path.startswith(_OPTIMIZERS) and state is not None:
        for key in ("param_groups", "state", "defaults"):
            value = state.get(key)
            yield from _once(known, value, key, lambda: () if _are_tables(key, value) else (key,))  # noqa: B023
    elif path.startswith("torch.nn.modules.rnn.") and state is not None:
        layers = state.get("num_layers", 1)
        yield from () if type(layers) is int and layers <= _MOST_LAYERS else ("num_layers",)
    elif owner == OPTIMIZED:
        yield from _not_compiled(state or {})


def _shadows(key: Any, value: Any) -> bool:
    """Not what is plain, as the documentation of a function is; `__class__` and `__dict__` never."""
    if not isinstance(key, str) or not _DUNDER.fullmatch(key) or key in _HARMLESS:
        return False
    return key in ("__class__", "__dict__", "__bases__") or not (value is None or isinstance(value, (str, int, float)))


def _is_callable(value: Any) -> bool:
    return isinstance(value, Global) or (isinstance(value, Object) and not is_tensor(value) and mapping(value) is None)


def _are_tables(key: str, value: Any) -> bool:
    """An optimizer's groups and states: its `__setstate__` asks each for what it lacks."""
    if value is None:
        return True
    if key == "param_groups":
        return isinstance(value, list) and all(isinstance(group, dict) for group in value)
    table = _table(value)
    return table is not None and (key == "defaults" or all(_table(one) is not None for one in table.values()))


def _table(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, Object) and value.origin == Global("collections", "defaultdict"):
        return value.pairs
    return mapping(value)


def _not_compiled(state: dict[Any, Any]) -> Iterator[str]:
    """A compiled module calls its context with the module when it gets its state."""
    children = mapping(state.get("_modules")) or {}
    inner = state.get("_orig_mod", children.get("_orig_mod"))
    if not is_module(inner) and not (isinstance(inner, Object) and inner.origin == OPTIMIZED):
        yield "_orig_mod"
    if not is_context(state.get("dynamo_ctx")):
        yield "dynamo_ctx"


def is_context(value: Any) -> bool:
    """What torch.compile made to compile by, whose class is torch's."""
    return isinstance(value, Object) and CONTEXT in (value.origin, class_of(value))


def _are_switches(settings: Any) -> bool:
    if settings is None:
        return True
    plain = (type(None), bool, int, float)
    return isinstance(settings, dict) and all(type(one) in plain for one in settings.values())
