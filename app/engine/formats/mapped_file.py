"""A file as a memory map and as chunks; the bytes of a storage are a range of it."""

import mmap
import os
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from app.errors import MalformedFile

CHUNK_BYTES = 1 << 20
_WORTH_MAPPING = 1 << 15  # below it a copy is quicker than a map


class MappedFile:
    """An open file, mapped privately: what is written into a tensor on it never reaches the file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size
        if self.size == 0:
            raise MalformedFile("the file is empty (0 bytes)", remedy="Upload the checkpoint again.")
        self.map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)

    def tensor(self, offset: int, nbytes: int) -> Tensor:
        """The range as uint8, in a map of its own that goes with the tensor: what is done with leaves memory."""
        if nbytes == 0:
            return torch.empty(0, dtype=torch.uint8)
        if nbytes < _WORTH_MAPPING:
            return torch.frombuffer(bytearray(self.read(offset, nbytes)), dtype=torch.uint8)
        inside = offset % mmap.ALLOCATIONGRANULARITY
        # A copy-on-write map rather than a read-only one: torch warns about tensors on memory that it can't write.
        own = mmap.mmap(self._descriptor, inside + nbytes, access=mmap.ACCESS_COPY, offset=offset - inside)
        return torch.frombuffer(own, dtype=torch.uint8, count=nbytes, offset=inside)

    def chunks(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The range piece by piece, through one buffer: reading it leaves no pages of the map in memory."""
        buffer = memoryview(bytearray(min(CHUNK_BYTES, nbytes)))
        end = offset + nbytes
        while offset < end:
            count = os.preadv(self._descriptor, [buffer[: min(len(buffer), end - offset)]], offset)
            if count == 0:
                raise MalformedFile(f"the file ends at byte {offset:,} while it is being read")
            yield buffer[:count]
            offset += count

    def read(self, offset: int, nbytes: int) -> bytes:
        """The range, copied."""
        return self.map[offset : offset + nbytes]


@dataclass(eq=False, slots=True)
class FileBytes:
    """A range of a mapped file; its CRC (of a zip record) is checked before the first use, and only then."""

    file: MappedFile
    offset: int
    nbytes: int
    crc: int | None = None
    name: str = ""
    _checked: bool = field(default=False, init=False)

    def tensor(self) -> Tensor:
        """All bytes as uint8, mapped. Not to be written to: a writer copies from the file."""
        if self.crc is not None and not self._checked:
            for _ in self.chunks():
                pass
        return self.file.tensor(self.offset, self.nbytes)

    def chunks(self) -> Iterator[memoryview]:
        """All bytes in pieces that are valid until the next one; ends in MalformedFile if the CRC is wrong."""
        crc = 0
        for chunk in self.file.chunks(self.offset, self.nbytes):
            if not self._checked:
                crc = zlib.crc32(chunk, crc)
            yield chunk
        if self.crc is not None and not self._checked and crc != self.crc:
            raise MalformedFile(
                f"{self.name}: CRC-32 is {crc:08x}, the archive says {self.crc:08x}",
                remedy="Upload the file again; one saved with torch.serialization.set_crc32_options(False) "
                "has no checksums and must be saved again with them.",
            )
        self._checked = True

    def read(self) -> bytes:
        """All bytes, copied and checked."""
        return b"".join(bytes(chunk) for chunk in self.chunks())
