"""A record of an archive as a file of its own: torch puts files of torch.save into its archives."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from app.engine.formats.mapped_file import FileBytes, MappedFile


class RecordFile(MappedFile):
    """The bytes of a record, mapped with the archive that it lies in."""

    def __init__(self, record: FileBytes) -> None:
        self._archive, self._start = record.file, record.offset
        self.size = record.nbytes
        self.map: Any = memoryview(record.file.map)[record.offset : record.offset + record.nbytes]

    def tensor(self, offset: int, nbytes: int) -> Tensor:
        return self._archive.tensor(self._start + offset, nbytes)

    def chunks(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        return self._archive.chunks(self._start + offset, nbytes)

    def read(self, offset: int, nbytes: int) -> bytes:
        return self._archive.read(self._start + offset, nbytes)
