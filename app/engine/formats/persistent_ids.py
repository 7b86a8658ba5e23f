"""What a persistent id of a torch pickle stands for: a storage, or (legacy) a class with its source text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.engine.formats.limits import Limits, check_limit
from app.engine.ir.node import Bytes, Global, PersistentId, Storage
from app.engine.ir.tensors import storage_dtype

_LONGEST_KEY = 256


class Fault(ValueError):
    """What is wrong with an operand, as a sentence; the machine adds the operation and its place."""


@dataclass(slots=True)
class PersistentIds:
    """Resolves persistent ids; the same key always gives the same Storage.

    `open_bytes(key, nbytes)` gives a storage's bytes, or raises Fault. `modules` collects the legacy ids of classes.
    """

    open_bytes: Callable[[str, int], Bytes]
    limits: Limits
    legacy: bool = False
    storages: dict[str, Storage] = field(default_factory=dict)
    modules: list[PersistentId] = field(default_factory=list)
    _total: int = 0

    def resolve(self, pid: Any) -> Storage | Global:
        """The Storage or, for a class, its Global."""
        if isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage":
            if len(pid) == 6 and pid[5] is not None:
                raise Fault("a storage that is a view of another (torch before 0.4) is not read; save the file again")
            return self._storage(*pid[1:5])
        if self.legacy and isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            if not isinstance(pid[1], Global) or not all(part is None or isinstance(part, str) for part in pid[2:]):
                raise Fault("the persistent id of a class is not (module, class, source file, source)")
            self.modules.append(PersistentId(pid))
            return pid[1]
        raise Fault("a persistent id is neither a storage nor a class")

    def _storage(self, kind: Any, key: Any, location: Any, numel: Any) -> Storage:
        dtype = storage_dtype(kind) if isinstance(kind, Global) else None
        if dtype is None:
            raise Fault("the class of a storage is not one of torch's")
        if not isinstance(key, str) or not isinstance(location, str) or max(len(key), len(location)) > _LONGEST_KEY:
            raise Fault("key or location of a storage is not a short string")
        if type(numel) is not int or not 0 <= numel <= 1 << 60:
            raise Fault("the element count of a storage is not a sane number")
        known = self.storages.get(key)
        if known is None:
            return self._open(kind, key, location, numel, numel * dtype.itemsize)
        if (known.kind, known.location, known.numel) != (kind, location, numel):
            raise Fault(f"storage {key!r} is described in two ways")
        return known

    def _open(self, kind: Global, key: str, location: str, numel: int, nbytes: int) -> Storage:
        self._total += nbytes
        check_limit("bytes of tensor data", self._total, self.limits.max_tensor_bytes)
        check_limit("storages", len(self.storages) + 1, self.limits.max_storages)
        storage = Storage(kind, key, location, numel, self.open_bytes(key, nbytes))
        self.storages[key] = storage
        return storage
