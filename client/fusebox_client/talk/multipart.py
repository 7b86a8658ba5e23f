"""The form of an upload as a stream (RFC 7578): its length is known before, its files are read piece by piece."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusebox_client.problems import FuseboxError
from fusebox_client.progress import Meter, Progress

_PIECE = 256 << 10


class FileChanged(FuseboxError):
    """The file has another length than when its upload began: it is still being written."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file as a part of the form, under this name."""

    name: str
    path: Path
    filename: str
    bytes: int

    @classmethod
    def of(cls, name: str, path: str | os.PathLike[str], filename: str | None = None) -> "FilePart":
        """Raises OSError for what can't be read."""
        found = Path(path)
        with found.open("rb") as file:
            return cls(name, found, filename or found.name, os.fstat(file.fileno()).st_size)


@dataclass(slots=True)
class Form:
    """Fields first, then the files. `sha256` of the first file is known once its bytes have been taken."""

    fields: Mapping[str, str]
    files: tuple[FilePart, ...]
    progress: Callable[[Progress], None]
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))
    sha256: str = ""

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int:
        around = sum(len(head) + 2 for _, head in self._heads()) + len(self._end())
        return len(self._fields()) + around + sum(file.bytes for file in self.files)

    def pieces(self) -> Iterator[bytes]:
        """The body from its beginning. Raises FileChanged, OSError."""
        meter = Meter("upload", sum(file.bytes for file in self.files), self.progress)
        if self.fields:
            yield self._fields()
        for number, (file, head) in enumerate(self._heads()):
            yield head
            digest = hashlib.sha256()
            for piece in _read(file):
                digest.update(piece)
                yield piece
                meter.moved(len(piece))
            if number == 0:
                self.sha256 = digest.hexdigest()
            yield b"\r\n"
        yield self._end()

    def _fields(self) -> bytes:
        return b"".join(
            self._head(f'name="{_quoted(name)}"') + value.encode() + b"\r\n" for name, value in self.fields.items()
        )

    def _heads(self) -> list[tuple[FilePart, bytes]]:
        kind = b"Content-Type: application/octet-stream\r\n"
        names = (f'name="{_quoted(file.name)}"; filename="{_quoted(file.filename)}"' for file in self.files)
        return [(file, self._head(name, kind)) for file, name in zip(self.files, names, strict=True)]

    def _head(self, parameters: str, more: bytes = b"") -> bytes:
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {parameters}\r\n".encode() + more + b"\r\n"

    def _end(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()


def _read(file: FilePart) -> Iterator[bytes]:
    left = file.bytes
    with file.path.open("rb") as opened:
        while piece := opened.read(min(_PIECE, left)):
            left -= len(piece)
            yield piece
        if left or opened.read(1):
            raise FileChanged(f"{file.path} has changed while it was sent; wait until it is written.")


def _quoted(name: str) -> str:
    """As browsers write a name: quotes and line ends escaped, the rest in UTF-8, however the system writes it."""
    name = name.encode(errors="surrogateescape").decode(errors="replace")
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
