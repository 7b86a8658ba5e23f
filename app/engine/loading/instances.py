"""Objects that are made of their class alone (NEWOBJ and its like): which classes, and of which arguments."""

from typing import Any, Final

from app.engine.ir.node import Global, Object
from app.engine.loading.names import is_held, is_the_users
from app.engine.loading.torch_names import is_torch_class

# Of the standard library: what holds values, and is made of nothing.
_HOLDERS: Final = frozenset(
    {
        *("argparse.Namespace", "types.SimpleNamespace", "contextlib.nullcontext", "uuid.UUID", "builtins.object"),
        *("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "collections.deque"),
        "__builtin__.object",
    }
)
# Tuples with names, which are made of what they hold.
_TUPLES: Final = frozenset({"QConfig", "QConfigDynamic", "_IncompatibleKeys", "PackedSequence", "PackedSequence_"})
MOST_PARTS: Final = 256


def may_be_instantiated(made_of: Global, node: Object) -> bool:
    """Whether making an object of this class, as `node` does, runs nothing of which nobody knows."""
    if is_the_users(made_of):
        return is_held(made_of)
    if len(node.args) > MOST_PARTS:
        return False
    args = _given(node)
    if made_of.path in _HOLDERS:
        return not args
    return is_torch_class(made_of) and is_held(made_of) and (made_of.name in _TUPLES or is_plain(args))


def _given(node: Object) -> tuple[Any, ...]:
    """What the class's own `__new__` is given."""
    if node.how != "reduce":
        return (*node.args, *(node.kwargs or {}).values())
    name = node.origin.name
    # A `_reconstructor` gives its state to the base, which is looked at where it is called.
    return () if name == "_reconstructor" else node.args[1:]


def is_plain(value: Any) -> bool:
    """A number, text or nothing, or a few of them in lists and tables."""
    left, parts = [value], 0
    while left:
        part, parts = left.pop(), parts + 1
        if parts + len(left) > MOST_PARTS:
            return False
        if isinstance(part, (list, tuple, dict)):
            if len(part) > MOST_PARTS:
                return False
            left.extend((*part, *part.values()) if isinstance(part, dict) else part)
        elif not (part is None or isinstance(part, (bool, int, float, str, bytes))):
            return False
    return True
