"""The header of a safetensors file: which tensor lies where. Nothing in it is taken on trust.

Layout: eight bytes with the header's length, the header as JSON, then all tensors without holes or overlaps.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.safetensors.json_object import MAX_JSON_BYTES, damaged, read_object, text
from app.engine.ir.tensors import MAX_DIMENSIONS
from app.errors import UnsupportedContent

_LENGTH: Final = struct.Struct("<Q")
_METADATA: Final = "__metadata__"
_FIELDS: Final = {"dtype", "shape", "data_offsets"}
_LARGEST: Final = 1 << 62

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: `begin` and `end` count bytes from where the header ends."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    entries: Mapping[str, Entry]  # in the order of the header
    metadata: Mapping[str, str] | None
    start: int  # byte of the file at which the first tensor lies


def read_header(whole: FileBytes, limits: Limits) -> Header:
    """The header, every tensor of which lies where it says. Raises MalformedFile, TooLarge, UnsupportedContent."""
    raw = whole.file.read(whole.offset, _LENGTH.size)
    if whole.nbytes < _LENGTH.size:
        raise damaged("the file is shorter than the length of a header")
    (length,) = _LENGTH.unpack(raw)
    check_limit("bytes of the safetensors header", length, MAX_JSON_BYTES)
    if length > whole.nbytes - _LENGTH.size:
        raise damaged(f"a header of {length:,} bytes in a file of {whole.nbytes:,}")
    content = whole.file.read(whole.offset + _LENGTH.size, length)
    if not content.startswith(b"{"):
        raise damaged("the header does not begin with {")
    found = read_object(content, "the header")
    metadata = _metadata(found.pop(_METADATA)) if _METADATA in found else None
    check_limit("tensors of the file", len(found), limits.max_storages)
    entries = {text(name, f"the name {name[:100]!r}"): _entry(name, fields) for name, fields in found.items()}
    start = _LENGTH.size + length
    _check_layout(entries, whole.nbytes - start)
    return Header(entries, metadata, start)


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict):
        raise damaged(f"{_METADATA} is not an object")
    return {text(key, f"a key of {_METADATA}"): text(value, f"{_METADATA}.{key[:100]}") for key, value in found.items()}


def _entry(name: str, fields: Any) -> Entry:
    shown = name[:100]
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise damaged(f"{shown!r} does not have exactly {', '.join(sorted(_FIELDS))}")
    kind = text(fields["dtype"], f"the dtype of {shown!r}")
    if kind not in DTYPES:
        raise UnsupportedContent(
            f"{shown!r} has the dtype {kind[:40]!r}, which is not read",
            remedy=f"Convert it to one of {', '.join(DTYPES)}.",
            tensor=shown,
        )
    shape, offsets = _sizes(fields["shape"], shown), _sizes(fields["data_offsets"], shown)
    if len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise damaged(f"{shown!r} has {len(shape)} dimensions and {len(offsets)} offsets")
    dtype, (begin, end) = DTYPES[kind], offsets
    if end - begin != prod(shape) * dtype.itemsize:
        raise damaged(f"{shown!r} of shape {shape} and dtype {kind} lies in {end - begin:,} bytes")
    return Entry(dtype, shape, begin, end)


def _sizes(found: Any, name: str) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > MAX_DIMENSIONS:
        raise damaged(f"a shape or the offsets of {name!r} are no short list")
    if not all(type(size) is int and 0 <= size <= _LARGEST for size in found):
        raise damaged(f"a size or an offset of {name!r} is no integer from 0 to 2^62")
    return tuple(found)


def _check_layout(entries: Mapping[str, Entry], size: int) -> None:
    """One tensor after the other, from the first byte to the last."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            what = "overlap" if entry.begin < at else "leave a hole"
            raise damaged(f"the tensors {what} at byte {min(entry.begin, at):,}, before {name[:100]!r}")
        at = entry.end
    if at != size:
        raise damaged(f"the tensors take {at:,} bytes, and the file has {size:,} behind its header")
