"""The wire format of protobuf, as far as it is needed to look at a message before anything is built of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from app.errors import MalformedFile

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

Buffer = bytes | mmap


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: its whole lies in [start, end), its content (of BYTES) in [content, end)."""

    number: int
    kind: int
    start: int
    content: int
    end: int


def fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in this range. MalformedFile where it does not add up."""
    at = start
    while at < end:
        tag, content = read_varint(buffer, at, end)
        kind = tag & 7
        if kind == VARINT:
            _, after = read_varint(buffer, content, end)
        elif kind == BYTES:
            size, content = read_varint(buffer, content, end)
            after = content + size
        elif kind in (FIXED64, FIXED32):
            after = content + (8 if kind == FIXED64 else 4)
        else:
            raise damaged(f"a field of wire type {kind} at byte {at:,}")
        if after > end or tag < 8:
            raise damaged(f"the field at byte {at:,} reaches behind the end of its message, or has no number")
        yield Field(tag >> 3, kind, at, content, after)
        at = after


def read_varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """The number at this place, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise damaged(f"a number at byte {at:,} has no end")


def varint(value: int) -> bytes:
    """The number as it is written."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def header(number: int, size: int) -> bytes:
    """What stands before `size` bytes of content of this field."""
    return varint(number << 3 | BYTES) + varint(size)


def damaged(what: str) -> MalformedFile:
    return MalformedFile(f"ONNX model: {what}", remedy="Export the model again and upload the file as it was written.")
