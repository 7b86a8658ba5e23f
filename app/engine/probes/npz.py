"""An archive of arrays as NumPy writes it, stored or deflated: as much of zip as that takes, read strictly."""

import zlib
from collections.abc import Iterator
from typing import Final

from torch import Tensor

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.zip_reader import Packed, packed_records, read_directory
from app.engine.probes.invalid import invalid_probe
from app.engine.probes.npy import MAX_NUMBERS, read_npy

_SUFFIX: Final = ".npy"
_MAX_ARRAYS: Final = 64
_MAX_BYTES: Final = 8 * MAX_NUMBERS + (1 << 20)
_DEFLATED: Final = 8  # APPNOTE 4.4.5


def read_npz(file: MappedFile) -> dict[str, Tensor]:
    """The arrays by their names. Raises InvalidProbe, and MalformedFile for a zip archive that is none."""
    directory = read_directory(file, Limits(max_entries=_MAX_ARRAYS))
    total = sum(entry.size for entry in directory.entries)
    if total > _MAX_BYTES:
        raise invalid_probe(f"unpacks to {total:,} bytes, the limit is {_MAX_BYTES:,}", "Give fewer inputs.")
    return dict(_arrays(packed_records(file, directory)))


def _arrays(records: list[Packed]) -> Iterator[tuple[str, Tensor]]:
    for record in records:
        name = record.entry.name
        if not name.endswith(_SUFFIX):
            raise invalid_probe(f"holds {name[:100]!r}, which is no array")
        yield name.removesuffix(_SUFFIX), read_npy(memoryview(_content(record)), name)


def _content(record: Packed) -> bytes:
    """The bytes of an array: as many as the archive says, with the sum that it says."""
    name, wanted = record.entry.name[:100], record.entry.size
    raw = record.content.read()
    if record.entry.method == _DEFLATED:
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            raw = unpacking.decompress(raw, wanted + 1)
        except zlib.error as error:
            raise invalid_probe(f"has {name!r}, which can't be unpacked ({error})") from None
        if not unpacking.eof or unpacking.unused_data:
            raise invalid_probe(f"has {name!r}, which does not unpack to its {wanted:,} bytes")
    if len(raw) != wanted or zlib.crc32(raw) != record.entry.crc:
        raise invalid_probe(f"has {name!r}, whose size or checksum is not the one of the archive")
    return raw
