"""safetensors files as containers, alone or in shards."""

from pathlib import Path
from typing import Final

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.safetensors import (
    SafetensorsFile,
    ShardedFile,
    read_safetensors,
    read_shards,
    write_safetensors,
    write_shards,
)
from app.engine.weights.container import Again, Container, Tensors, Write
from app.errors import NothingToFuse
from app.report import Removed

_LIMITS: Final = Limits()


def safetensors_container(source: Path) -> Container:
    """The tensors of one safetensors file."""
    file = _read(source)

    def write(tensors: Tensors, target: Path) -> tuple[Removed, ...]:
        write_safetensors(file, tensors, target)
        return ()

    return _container("safetensors", file.tensors, write, lambda target: _read(target).tensors)


def sharded_container(source: Path) -> Container:
    """The tensors of an archive of shards."""
    file = _read_sharded(source)

    def write(tensors: Tensors, target: Path) -> tuple[Removed, ...]:
        write_shards(file, tensors, target)
        return ()

    return _container("safetensors-zip", file.tensors, write, lambda target: _read_sharded(target).tensors)


def _container(form: str, tensors: Tensors, write: Write, again: Again) -> Container:
    if not tensors:
        raise NothingToFuse("the safetensors file holds no tensor", remedy="Check what wrote it.")
    return Container(form, tensors, "", (), write, again)


def _read(path: Path) -> SafetensorsFile:
    file = MappedFile(path)
    return read_safetensors(FileBytes(file, 0, file.size), _LIMITS)


def _read_sharded(path: Path) -> ShardedFile:
    return read_shards(MappedFile(path), _LIMITS)
