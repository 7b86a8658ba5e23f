"""ONNX models with external data: a zip archive of one model and the files that it names; one such file is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from onnx import ModelProto

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx.external import Files, embed_inner, place, shown
from app.engine.formats.onnx.onnx_file import OnnxFile, Package
from app.engine.formats.onnx.reader import read_model
from app.engine.formats.onnx.serial import Initializer, laid_out
from app.engine.formats.onnx.writer import rebuilt
from app.engine.formats.storage_writer import storage_chunks
from app.engine.formats.zip_reader import Directory, read_directory, read_records
from app.engine.formats.zip_writer import ZipWriter
from app.engine.ir.graph import Graph
from app.engine.ir.node import Storage
from app.engine.ir.program import Program
from app.errors import MalformedFile, UnsupportedContent

_PACK: Final = (
    "Pack the model and its data files, without folders, with: zip -0 -j model.zip model.onnx model.onnx.data"
)
_MODEL: Final = ".onnx"
# As onnx.save_model(save_as_external_data=True): what is smaller stays in the model.
_EXTERNAL_FROM: Final = 1024
# onnx.proto wants offsets at multiples of a page, so that a tensor can be mapped; runtimes ask it of large ones.
_LARGE, _PAGE, _ALIGNMENT = 1 << 20, 4096, 64


@dataclass(frozen=True, slots=True)
class Contents:
    """The entries of an archive: the model, and the files next to it by their names from there."""

    name: str  # of the model's entry
    folder: str  # that all are in, with its slash; empty where they are in none
    model: FileBytes
    files: Files


def read_onnx_archive(file: MappedFile, limits: Limits) -> OnnxFile:
    """The model at hand, its external tensors where they lie in the archive. Every CRC is checked first."""
    contents = read_contents(file, limits)
    for record in (contents.model, *contents.files.values()):
        _check_crc(record)
    model = read_model(contents.model, limits, contents.files)
    return replace(
        model, format="onnx-zip", package=Package(contents.name, contents.folder, next(iter(contents.files), None))
    )


def read_contents(file: MappedFile, limits: Limits) -> Contents:
    """Where model and data files lie. Raises MalformedFile, or UnsupportedContent for what is packed in another way."""
    directory = read_directory(file, limits)
    _check_entries(directory)
    try:
        records = read_records(file, directory)
    except MalformedFile as error:
        raise MalformedFile(error.detail, remedy=_PACK) from error
    name = next(name for name in records if name.endswith(_MODEL))
    folder = name[: name.rfind("/") + 1]
    files = {found: record for found, record in records.items() if found != name}
    astray = [found for found in files if not found.startswith(folder)]
    if astray:
        raise UnsupportedContent(
            f"the archive holds {len(astray)} files that are not next to the model: {shown(astray)}",
            remedy=_PACK,
        )
    return Contents(name, folder, records[name], {one.removeprefix(folder): files[one] for one in files})


def runnable(file: MappedFile, limits: Limits) -> tuple[bytes, Files]:
    """The model of an archive that was read, and its data files, for a runtime that is given both from memory.

    A runtime looks for all external data but that of the main graph's initializers at paths: there is none of it.
    """
    contents = read_contents(file, limits)
    whole = contents.model.read()
    if not contents.files:
        return whole, {}
    model = ModelProto.FromString(whole)
    embed_inner(model, contents.files, limits)
    written: bytes = model.SerializeToString(deterministic=True)
    return written, contents.files


def _check_entries(directory: Directory) -> None:
    """What a user packs in another way is answered with how to pack it."""
    for entry in directory.entries:
        if entry.name.endswith("/"):
            raise UnsupportedContent(f"the archive has an entry for the folder {entry.name!r}", remedy=_PACK)
        if entry.method != 0:
            raise UnsupportedContent(
                f"{entry.name!r} is compressed (method {entry.method}); entries of an archive with a model are stored",
                remedy=_PACK,
            )


def _check_crc(record: FileBytes) -> None:
    try:
        for _ in record.chunks():
            pass
    except MalformedFile as error:
        raise MalformedFile(error.detail, remedy="Pack the files again and upload the archive again.") from error


def write_onnx_archive(file: OnnxFile, program: Program, graph: Graph, target: Path) -> None:
    """As `write_onnx`, in an archive like the one that `file` came in; its tensors are in one data file."""
    assert file.package is not None
    model, initializers = rebuilt(file, program, graph)
    package = file.package
    data = _DataFile(package.location) if package.location is not None else None
    if data is not None:
        initializers = [data.take(one) for one in initializers]
    size, chunks = laid_out(model, initializers)
    with target.open("wb") as stream:
        archive = ZipWriter(stream)
        archive.add(package.model, size, chunks)
        if data is not None and data.size:  # a file that no tensor lies in is refused where it is read
            archive.add(package.folder + data.location, data.size, data.chunks())
        archive.close()


@dataclass(slots=True)
class _DataFile:
    """The file of external tensors as it is being laid out: what lies at which offset."""

    location: str
    size: int = 0
    _pieces: list[tuple[int, Storage | bytes]] = field(default_factory=list)
    _known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def take(self, one: Initializer) -> Initializer:
        """The initializer with its data in this file, if that is worth it."""
        content: Storage | bytes = one.head.raw_data if one.data is None else one.data.storage
        nbytes = len(content) if isinstance(content, bytes) else content.source.nbytes
        if nbytes < _EXTERNAL_FROM:
            return one
        key = _place_of(content)
        if key not in self._known:
            alignment = _PAGE if nbytes >= _LARGE else _ALIGNMENT
            offset = self._known[key] = -(-self.size // alignment) * alignment
            self._pieces.append((offset, content))
            self.size = offset + nbytes
        return Initializer(place(one.head, self.location, self._known[key], nbytes))

    def chunks(self) -> Iterator[bytes | memoryview]:
        at = 0
        for offset, content in self._pieces:
            yield bytes(offset - at)
            at = offset
            for chunk in (content,) if isinstance(content, bytes) else storage_chunks(content):
                yield chunk
                at += len(chunk)


def _place_of(content: Storage | bytes) -> tuple[Any, ...]:
    """Equal for tensors that share one range of a file: it is written once."""
    if isinstance(content, Storage) and isinstance(content.source, FileBytes):
        return id(content.source.file), content.source.offset, content.source.nbytes
    return (id(content if isinstance(content, bytes) else content.source),)
