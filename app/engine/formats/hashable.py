"""Which values of a pickle may be keys or set members: those that hash at once, to what an author can't choose."""

from itertools import islice
from typing import Any, Final

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.persistent_ids import Fault
from app.engine.ir.node import Global, Object

_PLAIN: Final = (type(None), bool, float, str, bytes, Global, Object)
_NESTING = 3
_PARTS = 256
_WIDE = 1 << 60  # Python reduces integers modulo 2^61 - 1: above it, different ones have equal hashes


class KeyCheck:
    """Checks keys of one pickle and counts those that could be made to collide."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.max_complex_keys
        self._complex = 0

    def check(self, key: Any) -> None:
        """Fault if `key` can't be one, TooLarge if there are too many of its kind."""
        if (isinstance(key, int) and -_WIDE < key < _WIDE) or isinstance(key, _PLAIN):
            return
        self._complex += 1
        check_limit("dictionary keys that are tuples, frozensets or wide integers", self._complex, self._limit)
        if not isinstance(key, int):
            _check_tuple(key)


def _check_tuple(key: Any) -> None:
    """Bounded, since a tuple that holds another twice, and so on, hashes in exponential time."""
    level, parts = [key], 0
    for _ in range(_NESTING):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, (tuple, frozenset)):
                inner.extend(islice(value, _PARTS + 1))
                parts += len(value)
            elif not isinstance(value, (*_PLAIN, int)):
                raise Fault(f"a {type(value).__name__} can't be a key")
            if parts > _PARTS:
                raise Fault("a key has too many parts")
        level = inner
    if level:
        raise Fault("a key is nested too deeply")
