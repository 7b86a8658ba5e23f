"""Scalars, arrays and types of numpy: their states are taken as they are by numpy, which trusts its pickles."""

import re
from typing import Any, Final

from app.engine.ir.node import MISSING, Global, Object
from app.engine.loading.instances import MOST_PARTS, is_plain

_KIND: Final = re.compile(r"[<>=|]?(?P<code>[?bBhHiIlLqQefdgFDG]|[biufcSUamMV](?P<size>\d{1,6}))(?:\[\w+\])?")
_OF_ANY_SIZE: Final = "SUaV"  # only these keep the size that their state gives
_LARGEST: Final = 1 << 22
# NPY_ITEM_HASOBJECT, NPY_LIST_PICKLE, NPY_ITEM_IS_POINTER: what is in the array would be taken for addresses.
_ADDRESSES: Final = 0b111
_ENCODE: Final = Global("_codecs", "encode")
_DTYPE: Final = Global("numpy", "dtype")
_WIDEST: Final = 32


def is_bytes(value: Any) -> bool:
    """Bytes, also as Python 3 writes them for Python 2."""
    return isinstance(value, bytes) or (isinstance(value, Object) and value.origin == _ENCODE)


def fits_dtype(node: Object) -> bool:
    """Of numbers, texts, and records of them; one of objects would take bytes for addresses."""
    return _size(node) is not None


def fits_scalar(node: Object) -> bool:
    return _is_bare(node) and node.state is MISSING and len(node.args) == 2 and _is_dtype(node.args[0], node.args[1])


def fits_array(node: Object) -> bool:
    """An empty array of bytes, and in its state version, shape, dtype, order and bytes."""
    if len(node.args) != 3 or node.args[:2] != (Global("numpy", "ndarray"), (0,)) or not _is_bare(node):
        return False
    if node.args[2] != "b" and not is_bytes(node.args[2]):
        return False
    state = node.state
    if state is MISSING:
        return True
    if not isinstance(state, tuple) or len(state) != 5 or not is_plain((*state[:2], state[3])):
        return False
    return _is_dtype(state[2], state[4])


def _is_bare(node: Object) -> bool:
    return not node.items and not node.pairs


def _is_dtype(value: Any, content: Any) -> bool:
    return isinstance(value, Object) and value.origin == _DTYPE and fits_dtype(value) and is_bytes(content)


def _size(node: Object) -> int | None:
    """Bytes of one element of a type; None where it is not sound."""
    kind = node.args[0] if node.args else None
    matched = _KIND.fullmatch(kind) if isinstance(kind, str) else None
    if matched is None or not _is_bare(node) or not is_plain(node.args):
        return None
    code, size = matched["code"][0], int(matched["size"] or _WIDEST) * (4 if matched["code"][0] == "U" else 1)
    return size if node.state is MISSING else _size_of_state(code, size, node.state)


def _size_of_state(code: str, size: int, state: Any) -> int | None:
    """`(version, order, subtype, names, fields, size, alignment, flags)`, and units of time."""
    if not isinstance(state, tuple) or len(state) not in (8, 9) or state[1] not in ("<", ">", "|", "="):
        return None
    numbers = (state[0], *state[5:8])
    if not all(type(one) is int and -1 <= one < _LARGEST for one in numbers) or state[2] is not None:
        return None
    if state[7] & _ADDRESSES or not 0 <= state[7] <= 0xFF or not all(map(_is_unit, state[8:])):
        return None
    if code in _OF_ANY_SIZE:
        size = state[5]
    elif state[5] != -1:
        return None
    return size if size >= 0 and _are_fields(code, size, state[3], state[4]) else None


def _are_fields(code: str, size: int, names: Any, fields: Any) -> bool:
    """Of a record: each within it."""
    if names is None and fields is None:
        return True
    if code != "V" or not isinstance(names, tuple) or not isinstance(fields, dict) or len(names) > MOST_PARTS:
        return False
    if not all(isinstance(name, str) for name in names) or set(names) != set(fields):
        return False
    return all(_lies_within(field, size) for field in fields.values())


def _lies_within(field: Any, size: int) -> bool:
    if not isinstance(field, tuple) or len(field) != 2 or not isinstance(field[0], Object) or type(field[1]) is not int:
        return False
    inner = _size(field[0]) if field[0].origin == _DTYPE else None
    return inner is not None and field[1] >= 0 and field[1] + inner <= size


def _is_unit(value: Any) -> bool:
    """`(metadata, (unit, steps, ...))` of a time."""
    if isinstance(value, tuple) and len(value) > MOST_PARTS:
        return False
    parts = [*value] if isinstance(value, tuple) else [value]
    inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
    return all(is_plain(one) or is_bytes(one) for one in inner)
