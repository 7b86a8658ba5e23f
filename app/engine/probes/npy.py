"""One .npy file, read by its specification: a short header in a language of three keys, then the numbers.

NumPy's format description, versions 1.0 to 3.0. The header is Python's notation of a dictionary; nothing of it is
evaluated, and arrays of objects (which are pickles) are of no dtype that is read.
"""

import re
import struct
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import torch
from torch import Tensor

from app.engine.probes.invalid import invalid_probe

MAGIC: Final = b"\x93NUMPY"
MAX_NUMBERS: Final = 1 << 25  # of all inputs: 16 pictures of 3x832x832
_LONGEST: Final = 4096  # bytes of the header: NumPy writes 118
_MAX_DIMENSIONS: Final = 16
# Letters and sizes of the dtypes that torch has, too.
_DTYPES: Final = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"})
_FIELD: Final = re.compile(
    r"""\s*(?:'(descr)'\s*:\s*'([<>|=][a-zA-Z]\d{0,9})'|'(fortran_order)'\s*:\s*(True|False)"""
    r"""|'(shape)'\s*:\s*\(\s*((?:\d{1,12}\s*,\s*)*(?:\d{1,12})?)\s*\))\s*(,|$)"""
)


@dataclass(frozen=True, slots=True)
class _Header:
    descr: str
    fortran_order: bool
    shape: tuple[int, ...]


def read_npy(content: memoryview, name: str) -> Tensor:
    """The array, copied. Raises InvalidProbe."""
    shown = f"array {name[:100]!r}" if name else "file"
    text, at = _header_text(content, shown)
    header = _parsed(text, shown)
    if header.descr[1:] not in _DTYPES:
        what = "holds Python objects, which are pickles and are" if header.descr[1:] == "O" else "is of a dtype that is"
        raise invalid_probe(f"{shown} {what} not read ({header.descr!r})", "Convert it: x.astype('float32').")
    dtype = np.dtype(header.descr)
    count = prod(header.shape)
    if count > MAX_NUMBERS:
        raise invalid_probe(f"{shown} has {count:,} numbers, the limit is {MAX_NUMBERS:,}", "Give fewer inputs.")
    if len(content) - at != count * dtype.itemsize:
        raise invalid_probe(f"{shown} has {len(content) - at:,} bytes behind its header, and its shape says otherwise")
    flat = np.frombuffer(content, dtype, count, at).astype(dtype.newbyteorder("="))
    return torch.from_numpy(flat.reshape(header.shape, order="F" if header.fortran_order else "C").copy(order="C"))


def _header_text(content: memoryview, shown: str) -> tuple[str, int]:
    """The header, and where the numbers begin."""
    if bytes(content[:6]) != MAGIC or len(content) < 12 or content[6] not in (1, 2, 3):
        raise invalid_probe(f"{shown} is no .npy file of the versions 1 to 3")
    start = 10 if content[6] == 1 else 12
    (length,) = struct.unpack_from("<H" if content[6] == 1 else "<I", content, 8)
    if length > _LONGEST or start + length > len(content):
        raise invalid_probe(f"{shown} has a header of {length:,} bytes, which is too long")
    try:
        return bytes(content[start : start + length]).decode("ascii"), start + length
    except UnicodeDecodeError:
        raise invalid_probe(f"{shown} has a header that is no text") from None


def _parsed(text: str, shown: str) -> _Header:
    """The three keys, each once, in any order."""
    inner = text.strip()
    found: dict[str, str] = {}
    if inner.startswith("{") and inner.endswith("}"):
        inner, at = inner[1:-1].strip(), 0
        while at < len(inner) and (match := _FIELD.match(inner, at)) is not None:
            key, value = (part for part in match.groups()[:6] if part is not None)
            if key in found:
                break
            found[key], at = value, match.end()
        if at == len(inner) and len(found) == 3:
            shape = tuple(int(size) for size in found["shape"].split(",") if size.strip())
            if len(shape) <= _MAX_DIMENSIONS and _is_tuple(found["shape"]):
                return _Header(found["descr"], found["fortran_order"] == "True", shape)
    raise invalid_probe(f"{shown} has a header that is not NumPy's of a plain array")


def _is_tuple(text: str) -> bool:
    """Python takes one number in brackets for the number."""
    return not text.strip() or "," in text
