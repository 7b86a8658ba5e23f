"""Writes zip archives byte for byte as torch's own writer lays them out, so that its memory map finds each storage."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

ALIGNMENT = 64  # bytes; torch.utils.serialization.config.save.storage_alignment
_ZIP64_FROM = 0xFFFFFFFF
_ENTRIES64_FROM = 0xFFFF


@dataclass(frozen=True, slots=True)
class _Written:
    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


class ZipWriter:
    """An archive being written to `stream`: records, then `close`. Dates are zero: same content, same bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self._written: list[_Written] = []

    def add(self, name: str, size: int, chunks: Iterable[bytes | memoryview]) -> None:
        """One stored record of `size` bytes, its content aligned to 64 bytes in the file."""
        offset, raw = self._offset, name.encode("utf-8")
        flags = 0x0808 if size else 0x0800  # UTF-8 name; CRC and sizes follow the content, if there is any
        extra = _zip64_extra(size, offset)
        padding = -(offset + 30 + len(raw) + len(extra) + 4) % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        self._write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 0, flags, 0, 0, 0, 0, 0, 0, len(raw), len(extra)))
        self._write(raw + extra)
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
            self._write(chunk)
        if size:
            wide = "QQ" if _zip64_extra(size, offset) else "II"
            self._write(struct.pack(f"<II{wide}", 0x08074B50, crc, size, size))
        self._written.append(_Written(raw, flags, crc, size, offset))

    def content_id(self) -> str:
        """Forty digits that name the records written so far; torch's `serialization_id` has this form."""
        digest = sha256()
        for record in self._written:
            digest.update(struct.pack("<IQI", len(record.name), record.size, record.crc) + record.name)
        return str(int.from_bytes(digest.digest(), "little") % 10**40).zfill(40)

    def close(self) -> None:
        """Write the central directory and the end records; the stream stays open."""
        start = self._offset
        for record in self._written:
            self._write(_central_header(record))
        size, count = self._offset - start, len(self._written)
        end64 = self._offset
        self._write(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 0x031E, 45, 0, 0, count, count, size, start))
        self._write(struct.pack("<IIQI", 0x07064B50, 0, end64, 1))
        narrow = min(count, _ENTRIES64_FROM)
        spans = (min(size, 0xFFFFFFFF), min(start, 0xFFFFFFFF))
        self._write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, narrow, narrow, *spans, 0))

    def _write(self, content: bytes | memoryview) -> None:
        self._stream.write(content)
        self._offset += len(content)


def _zip64_extra(size: int, offset: int) -> bytes:
    values = [*((size, size) if size >= _ZIP64_FROM else ()), *((offset,) if offset >= _ZIP64_FROM else ())]
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def _central_header(record: _Written) -> bytes:
    extra = _zip64_extra(record.size, record.offset)
    size = 0xFFFFFFFF if record.size >= _ZIP64_FROM else record.size
    offset = 0xFFFFFFFF if record.offset >= _ZIP64_FROM else record.offset
    fields = (0, 0, record.flags, 0, 0, 0, record.crc, size, size, len(record.name), len(extra), 0, 0, 0, 0, offset)
    return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, *fields) + record.name + extra
