"""What a state must not set: attributes that Python, copy or torch look up on the instance and then call or trust."""

import re
from collections.abc import Iterator
from typing import Any, Final

from app.engine.ir.node import Global, Object

_DUNDER: Final = re.compile(r"__\w+__")
_HARMLESS: Final = frozenset({"__wrapped__"})  # of functools.wraps
# Settings of torch.compile: a compiler's path is one of them.
_SETTINGS: Final = ("config", "compiler_config", "kwargs")
_COMPILERS: Final = ("torch._TorchCompile", "torch._dynamo.")


def shadowed(node: Object) -> Iterator[str]:
    """Names of attributes by which the object would be taken for another one, or told what to run."""
    for part in node.state if isinstance(node.state, tuple) else (node.state,):
        if isinstance(part, dict):
            yield from (key for key, value in part.items() if _shadows(key, value))
    if isinstance(node.origin, Global) and node.origin.path.startswith(_COMPILERS) and isinstance(node.state, dict):
        yield from (key for key in _SETTINGS if not _are_switches(node.state.get(key)))


def _shadows(key: Any, value: Any) -> bool:
    """Not what is plain, as the documentation of a function is; `__class__` and `__dict__` never."""
    if not isinstance(key, str) or not _DUNDER.fullmatch(key) or key in _HARMLESS:
        return False
    return key in ("__class__", "__dict__", "__bases__") or not (value is None or isinstance(value, (str, int, float)))


def _are_switches(settings: Any) -> bool:
    if settings is None:
        return True
    plain = (type(None), bool, int, float)
    return isinstance(settings, dict) and all(type(one) in plain for one in settings.values())
