"""Numbers the storages of a tree as torch does, and streams their bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.engine.formats.mapped_file import CHUNK_BYTES, FileBytes
from app.engine.ir.node import Storage


@dataclass(slots=True)
class StorageNumbers:
    """Storages in order of first reference; `persistent_id` is what the pickle names each by."""

    tail: tuple[None, ...] = ()  # legacy ids end in the view metadata that nobody uses any more
    storages: list[Storage] = field(default_factory=list)
    _ids: dict[int, tuple[Any, ...]] = field(default_factory=dict)

    def persistent_id(self, storage: Storage) -> tuple[Any, ...]:
        pid = self._ids.get(id(storage))
        if pid is None:
            key = str(len(self.storages))
            self.storages.append(storage)
            pid = ("storage", storage.kind, key, storage.location, storage.numel, *self.tail)
            self._ids[id(storage)] = pid
        return pid


def storage_chunks(storage: Storage) -> Iterator[memoryview]:
    """The bytes of a storage in pieces: read from its file, or out of memory."""
    if isinstance(storage.source, FileBytes):
        yield from storage.source.chunks()
        return
    content = storage.source.tensor()
    for start in range(0, content.numel(), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES].numpy().data
