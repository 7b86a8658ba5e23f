"""A torch checkpoint as a value: its inert tree, its storages, and what its writer needs to write one like it."""

from dataclasses import dataclass
from typing import Any, Literal

from app.engine.formats.mapped_file import FileBytes
from app.engine.ir.node import Global, Object, PersistentId, Storage

TorchFormat = Literal["torch-zip", "torch-legacy"]


@dataclass(frozen=True, slots=True)
class TorchFile:
    """What one checkpoint holds."""

    format: TorchFormat
    root: Any  # the inert tree
    storages: tuple[Storage, ...]  # each once, in order of first reference
    names: frozenset[Global]  # every one that the file mentions
    objects: tuple[Object, ...]  # every one that its pickle builds, also those that the root does not hold
    protocol: int  # of the object pickle
    archive: str = ""  # zip: the folder that all records are in
    leading: tuple[FileBytes, ...] = ()  # zip: records between data.pkl and the storages, kept as they are
    trailing: tuple[FileBytes, ...] = ()  # zip: records behind the storages
    modules: tuple[PersistentId, ...] = ()  # legacy: ("module", class, source file, source text)

    @property
    def globals(self) -> tuple[str, ...]:
        """Every `module.name` that the file mentions, sorted."""
        return tuple(sorted({name.path for name in self.names}))
