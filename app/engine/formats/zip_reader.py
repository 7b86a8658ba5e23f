"""The strict reader of the zip archives that torch writes: stored records only, one meaning per byte.

Readers disagree about doubtful archives (torch takes the first of two equal names, Python the last; torch ignores
CRCs), so nothing doubtful is read. Layout: PKWARE APPNOTE 6.3, chapters 4.3.6 to 4.5.3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.errors import MalformedFile

_END = struct.Struct("<IHHHHIIH")
_END64_LOCATOR = struct.Struct("<IIQI")
_END64 = struct.Struct("<IQHHIIQQQQ")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_ZIP64_EXTRA = 1
_DESCRIPTOR_FLAG = 0x0008
_KNOWN_FLAGS = _DESCRIPTOR_FLAG | 0x0800  # 0x0800: the name is UTF-8
_STORED, _DEFLATED = 0, 8
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as the central directory tells it."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int  # of its local header


@dataclass(frozen=True, slots=True)
class Directory:
    entries: tuple[Entry, ...]
    offset: int  # where the central directory begins


def read_directory(file: MappedFile, limits: Limits) -> Directory:
    """The central directory; MalformedFile where it is inconsistent in itself."""
    count, size, offset, end = _read_end(file)
    check_limit("records in the archive", count, limits.max_entries)
    if offset + size != end:
        raise _damaged(f"central directory at byte {offset:,} with {size:,} bytes does not end at byte {end:,}")
    if count * _CENTRAL.size > size:
        raise _damaged(f"{count:,} records can't be in a central directory of {size:,} bytes")
    return Directory(tuple(_read_entries(file, count, offset, end)), offset)


def read_records(file: MappedFile, directory: Directory) -> dict[str, FileBytes]:
    """Every record by its full name, in file order. The CRC of each is checked when its bytes are first used."""
    records: dict[str, FileBytes] = {}
    seen: set[str] = set()
    entries = sorted(directory.entries, key=lambda entry: entry.offset)
    ends = [*(entry.offset for entry in entries[1:]), directory.offset]
    if entries and entries[0].offset != 0:
        raise _damaged(f"{entries[0].offset:,} bytes before the first record")
    for entry, end in zip(entries, ends, strict=True):
        if entry.name.endswith("/"):
            raise _damaged(f"{entry.name!r} is a folder, torch writes none")
        if entry.name.casefold() in seen:
            raise _damaged(f"two records are called {entry.name!r}")
        seen.add(entry.name.casefold())
        records[entry.name] = _locate(file, entry, end)
    return records


@dataclass(frozen=True, slots=True)
class Packed:
    """A record as it lies in the archive, stored or deflated; its CRC is of what it unpacks to, and not checked."""

    entry: Entry
    content: FileBytes


def packed_records(file: MappedFile, directory: Directory) -> list[Packed]:
    """Every record, deflated ones too, in file order; for archives that other programs than torch wrote."""
    entries = sorted(directory.entries, key=lambda entry: entry.offset)
    ends = [*(entry.offset for entry in entries[1:]), directory.offset]
    if entries and entries[0].offset != 0:
        raise _damaged(f"{entries[0].offset:,} bytes before the first record")
    if len({entry.name.casefold() for entry in entries}) != len(entries):
        raise _damaged("two records have the same name")
    return [_pack(file, entry, end) for entry, end in zip(entries, ends, strict=True)]


def _damaged(what: str) -> MalformedFile:
    return MalformedFile(f"zip archive: {what}", remedy="Upload the file as torch.save wrote it, not packed again.")


def _read_end(file: MappedFile) -> tuple[int, int, int, int]:
    """Record count, directory size, directory offset, and where the directory must end."""
    at = file.size - _END.size
    if at < 0 or file.map[at : at + 4] != b"PK\x05\x06":
        raise _damaged("the end record is not at the end of the file: truncated, or followed by other bytes")
    _, disk, directory_disk, here, count, size, offset, comment = _END.unpack_from(file.map, at)
    if disk or directory_disk or here != count or comment:
        raise _damaged("the archive is split over several files or has a comment")
    locator = at - _END64_LOCATOR.size
    if locator < 0 or file.map[locator : locator + 4] != b"PK\x06\x07":
        return count, size, offset, at
    return _read_end64(file, locator, (count, size, offset))


def _read_end64(file: MappedFile, locator: int, narrow: tuple[int, int, int]) -> tuple[int, int, int, int]:
    at = locator - _END64.size
    _, disk, end64, disks = _END64_LOCATOR.unpack_from(file.map, locator)
    if at < 0 or end64 != at or disk or disks != 1 or file.map[at : at + 4] != b"PK\x06\x06":
        raise _damaged("the zip64 end record is not where it must be")
    _, length, _, _, disk, directory_disk, here, count, size, offset = _END64.unpack_from(file.map, at)
    if length != _END64.size - 12 or disk or directory_disk or here != count:
        raise _damaged("the zip64 end record is not valid")
    for wide, value, unset in zip((count, size, offset), narrow, (_U16, _U32, _U32), strict=True):
        if value not in (wide, unset):
            raise _damaged("the end record and the zip64 end record disagree")
    return count, size, offset, at


def _read_entries(file: MappedFile, count: int, at: int, end: int) -> Iterator[Entry]:
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise _damaged("the central directory is shorter than its records")
        fields = _CENTRAL.unpack_from(file.map, at)
        signature, _, _, flags, method, _, _, crc, compressed, size = fields[:10]
        name_length, extra_length, comment, disk, _, _, offset = fields[10:]
        name_at = at + _CENTRAL.size
        at = name_at + name_length + extra_length
        if signature != 0x02014B50 or comment or disk not in (0, _U16) or at > end:
            raise _damaged(f"the central directory is not valid at byte {name_at - _CENTRAL.size:,}")
        extra = _read_extra(file.map[name_at + name_length : at])
        size, compressed, offset = _widen(extra, (size, compressed, offset))
        yield Entry(
            _read_name(bytes(file.map[name_at : name_at + name_length])), flags, method, crc, compressed, size, offset
        )
    if at != end:
        raise _damaged(f"{end - at:,} bytes after the last record of the central directory")


def _read_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _damaged(f"the name {raw!r} is not UTF-8") from None
    parts = name.split("/")
    if (
        not name.isprintable()
        or "\\" in name
        or any(part in ("", ".", "..") for part in parts[:-1])
        or parts[-1] in (".", "..")
    ):
        raise _damaged(f"the name {name!r} is not allowed")
    return name


def _read_extra(raw: bytes) -> dict[int, bytes]:
    """The extra fields: identifier -> content."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise _damaged("an extra field is cut off")
        identifier, length = struct.unpack_from("<HH", raw, at)
        at += 4 + length
        if at > len(raw) or identifier in fields:
            raise _damaged("an extra field is cut off or given twice")
        fields[identifier] = raw[at - length : at]
    return fields


def _widen(extra: dict[int, bytes], narrow: tuple[int, int, int]) -> tuple[int, int, int]:
    """Size, compressed size and offset with those that say "see zip64" replaced, in this order (APPNOTE 4.5.3)."""
    wide = extra.get(_ZIP64_EXTRA, b"")
    needed = sum(value == _U32 for value in narrow)
    if len(wide) < 8 * needed:
        raise _damaged("a zip64 field is missing")
    values = iter(struct.unpack_from(f"<{needed}Q", wide))
    size, compressed, offset = (next(values) if value == _U32 else value for value in narrow)
    return size, compressed, offset


def _locate(file: MappedFile, entry: Entry, end: int) -> FileBytes:
    """Where the bytes of a stored record lie."""
    if entry.method != _STORED or entry.compressed != entry.size:
        raise _damaged(f"{entry.name}: compressed (method {entry.method}); torch stores its records")
    return FileBytes(file, _start(file, entry, end), entry.size, entry.crc, entry.name)


def _pack(file: MappedFile, entry: Entry, end: int) -> Packed:
    if entry.method not in (_STORED, _DEFLATED):
        raise _damaged(f"{entry.name}: compressed with method {entry.method}, which is not read")
    return Packed(entry, FileBytes(file, _start(file, entry, end), entry.compressed, None, entry.name))


def _start(file: MappedFile, entry: Entry, end: int) -> int:
    """Where the bytes of a record begin, after its local header was found equal to the directory."""
    if entry.flags & ~_KNOWN_FLAGS:
        raise _damaged(f"{entry.name}: flags {entry.flags:#06x} are not accepted")
    if entry.offset + _LOCAL.size > end:
        raise _damaged(f"{entry.name}: no room for its local header")
    signature, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = _LOCAL.unpack_from(
        file.map, entry.offset
    )
    name_at = entry.offset + _LOCAL.size
    start: int = name_at + name_length + extra_length
    if start + entry.compressed > end:
        raise _damaged(f"{entry.name}: {entry.compressed:,} bytes overlap the next record")
    name = file.map[name_at : name_at + name_length]
    extra = _read_extra(file.map[name_at + name_length : start])
    local = (signature, flags, method, name)
    if local != (0x04034B50, entry.flags, entry.method, entry.name.encode("utf-8")):
        raise _damaged(f"{entry.name}: the local header differs from the central directory")
    if entry.flags & _DESCRIPTOR_FLAG and (crc, compressed, size) == (0, 0, 0):
        _check_descriptor(file, entry, start + entry.compressed, end)
    else:
        size, compressed, _ = _widen(extra, (size, compressed, 0))
        if (crc, compressed, size) != (entry.crc, entry.compressed, entry.size):
            raise _damaged(f"{entry.name}: CRC or size in the local header differs from the central directory")
        if entry.flags & _DESCRIPTOR_FLAG:
            _check_descriptor(file, entry, start + entry.compressed, end)
        elif start + entry.compressed != end:
            raise _damaged(f"{entry.name}: {end - start - entry.compressed:,} unused bytes after the record")
    return start


def _check_descriptor(file: MappedFile, entry: Entry, at: int, end: int) -> None:
    """torch's writer puts 16 bytes, or 24 where the local header has a zip64 field, after the content."""
    wide = {16: "<IIII", 24: "<IIQQ"}.get(end - at)
    if wide is None or struct.unpack_from(wide, file.map, at) != (0x08074B50, entry.crc, entry.compressed, entry.size):
        raise _damaged(f"{entry.name}: the data descriptor after the record is missing or differs")
