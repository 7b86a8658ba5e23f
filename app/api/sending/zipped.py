"""A zip archive that is never in one piece: stored entries whose bytes come from elsewhere (APPNOTE.TXT 6.3.10).

Nothing is compressed, since weights are noise; so every byte's place is known beforehand, and any range of the archive
can be sent by itself.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
from typing import Final

# Bytes [start, stop) in pieces; opened before it returns.
Read = Callable[[int, int], Iterator[bytes]]

_ZIP64_FROM: Final = 0xFFFFFFFF
_PLAIN_VERSION, _ZIP64_VERSION = 20, 45
_UTF8_NAME: Final = 1 << 11
_MADE_ON_UNIX: Final = 3 << 8
_PLAIN_FILE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive."""

    name: str
    size: int
    crc32: int
    read: Read


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the archive."""

    size: int
    read: Read


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive as a sequence of stretches."""

    spans: Sequence[Span]

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop); whatever they come from is opened before this returns."""
        edges = [0]
        for span in self.spans:
            edges.append(edges[-1] + span.size)
        parts = [
            span.read(max(start, first) - first, min(stop, end) - first)
            for span, (first, end) in zip(self.spans, pairwise(edges), strict=True)
            if max(start, first) < min(stop, end)
        ]
        return chain.from_iterable(parts)


def archive_of(entries: Sequence[Entry], made: datetime) -> Archive:
    """These files, one after the other, then the directory."""
    spans: list[Span] = []
    directory = b""
    at = 0
    for entry in entries:
        head = _local_header(entry, made)
        directory += _directory_header(entry, made, at)
        spans += [_literal(head), Span(entry.size, entry.read)]
        at += len(head) + entry.size
    return Archive([*spans, _literal(directory + _end(len(entries), len(directory), at))])


def _literal(data: bytes) -> Span:
    return Span(len(data), lambda start, stop: iter((data[start:stop],)))


def _local_header(entry: Entry, made: datetime) -> bytes:
    """4.3.7 with, for a large file, 4.5.3."""
    large = entry.size >= _ZIP64_FROM
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if large else b""
    size = _ZIP64_FROM if large else entry.size
    name = entry.name.encode()
    return b"PK\3\4" + _what(entry, made, large, size) + struct.pack("<HH", len(name), len(extra)) + name + extra


def _directory_header(entry: Entry, made: datetime, at: int) -> bytes:
    """4.3.12."""
    large = entry.size >= _ZIP64_FROM or at >= _ZIP64_FROM
    extra = struct.pack("<HHQQQ", 1, 24, entry.size, entry.size, at) if large else b""
    name = entry.name.encode()
    by = struct.pack("<H", _MADE_ON_UNIX | (_ZIP64_VERSION if large else _PLAIN_VERSION))
    lengths = struct.pack("<HHHHH", len(name), len(extra), 0, 0, 0)
    place = struct.pack("<II", _PLAIN_FILE, _ZIP64_FROM if large else at)
    size = _ZIP64_FROM if large else entry.size
    return b"PK\1\2" + by + _what(entry, made, large, size) + lengths + place + name + extra


def _what(entry: Entry, made: datetime, large: bool, size: int) -> bytes:
    """Version to extract, flags, method, time, date, CRC and sizes, as both headers have them."""
    time = made.hour << 11 | made.minute << 5 | made.second // 2
    date = max(made.year - 1980, 0) << 9 | made.month << 5 | made.day
    version = _ZIP64_VERSION if large else _PLAIN_VERSION
    return struct.pack("<HHHHHIII", version, _UTF8_NAME, 0, time, date, entry.crc32, size, size)


def _end(count: int, size: int, at: int) -> bytes:
    """4.3.16, after 4.3.14 and 4.3.15 where the directory lies too far behind."""
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, min(at, _ZIP64_FROM), 0)
    if at < _ZIP64_FROM:
        return end
    record = struct.pack("<QHHIIQQQQ", 44, _MADE_ON_UNIX | _ZIP64_VERSION, _ZIP64_VERSION, 0, 0, count, count, size, at)
    return b"PK\6\6" + record + b"PK\6\7" + struct.pack("<IQI", 0, at + size, 1) + end
