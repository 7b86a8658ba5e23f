"""Legacy checkpoints (torch before 1.6): five pickles in a row, then each storage as a count and raw bytes."""

import struct
from pathlib import Path
from typing import Any, Final

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.persistent_ids import Fault, PersistentIds
from app.engine.formats.pickle_reader import Pickled, read_pickle
from app.engine.formats.pickle_writer import write_pickle, write_pickle_with_modules
from app.engine.formats.storage_writer import StorageNumbers, storage_chunks
from app.engine.formats.tar_header import HEADER_BYTES, is_tar_header
from app.engine.formats.torch_file import TorchFile
from app.engine.ir.node import Storage
from app.errors import MalformedFile, UnsafeGlobals, UnsupportedContent

MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_SHOWN: Final = 12
_TYPE_SIZES: Final = {"short": 2, "int": 4, "long": 4}
_SYSTEM: Final = {"protocol_version": _PROTOCOL, "little_endian": True, "type_sizes": _TYPE_SIZES}


def read_torch_legacy(file: MappedFile, limits: Limits) -> TorchFile:
    """The checkpoint as an inert tree; storages stay in the file."""
    if is_tar_header(file.map[:HEADER_BYTES]):
        raise MalformedFile("legacy checkpoint: it is a tar archive as well, which torch would open instead")
    at = _read_header(file, limits)

    def open_bytes(key: str, nbytes: int) -> FileBytes:
        if nbytes > file.size:
            raise Fault(f"storage {key!r} of {nbytes:,} bytes is larger than the file")
        return FileBytes(file, 0, nbytes, name=f"storage {key!r}")  # its place is known behind the pickles

    persistent = PersistentIds(open_bytes, limits, legacy=True)
    pickled = read_pickle(file.map, at, limits, persistent)
    keys = _read_plain(file, pickled.end, limits)
    _locate_storages(file, keys, persistent.storages)
    return TorchFile(
        format="torch-legacy",
        root=pickled.root,
        storages=tuple(persistent.storages.values()),
        names=pickled.globals,
        objects=pickled.objects,
        protocol=pickled.protocol,
        modules=tuple(persistent.modules),
    )


def write_torch_legacy(file: TorchFile, root: Any, target: Path) -> None:
    """`root` as a legacy checkpoint, streamed to `target`; only the storages that `root` refers to."""
    numbers = StorageNumbers(tail=(None,))
    pickled = write_pickle_with_modules(root, file.protocol, numbers.persistent_id, file.modules)
    storages = {str(number): storage for number, storage in enumerate(numbers.storages)}
    keys = sorted(storages)
    with target.open("wb") as stream:
        for value in (MAGIC, _PROTOCOL, _SYSTEM):
            stream.write(write_pickle(value, file.protocol, numbers.persistent_id))
        stream.write(pickled)
        stream.write(write_pickle(keys, file.protocol, numbers.persistent_id))
        for key in keys:
            stream.write(struct.pack("<q", storages[key].numel))
            for chunk in storage_chunks(storages[key]):
                stream.write(chunk)


def _read_plain(file: MappedFile, at: int, limits: Limits) -> Pickled:
    """A pickle of plain values, as torch puts them before and behind the one of the object."""

    def refuse(key: str, nbytes: int) -> FileBytes:
        raise Fault("a storage where none can be")

    pickled = read_pickle(file.map, at, limits, PersistentIds(refuse, limits))
    if pickled.globals:  # none of torch's own do, and a loader would run these before it comes to the object
        names = sorted(name.path for name in pickled.globals)[:_SHOWN]
        raise UnsafeGlobals(
            f"what stands around the pickle of the checkpoint refers to names: {', '.join(names)[:500]}",
            remedy="Save the checkpoint again with torch.save.",
            names=[name[:200] for name in names],
        )
    return pickled


def _read_header(file: MappedFile, limits: Limits) -> int:
    """Check magic number, protocol and byte order; where the object's pickle begins."""
    magic = _read_plain(file, 0, limits)
    protocol = _read_plain(file, magic.end, limits)
    if magic.root != MAGIC or protocol.root != _PROTOCOL:
        raise MalformedFile(f"legacy checkpoint: magic number or protocol {_PROTOCOL} is missing")
    system = _read_plain(file, protocol.end, limits)
    if not isinstance(system.root, dict) or type(system.root.get("little_endian")) is not bool:
        raise MalformedFile("legacy checkpoint: the description of the writing machine is missing")
    if not system.root["little_endian"]:
        raise UnsupportedContent(
            "the checkpoint was written on a big-endian machine",
            remedy="Load it with torch on a little-endian machine and save it again.",
        )
    return system.end


def _locate_storages(file: MappedFile, keys: Pickled, storages: dict[str, Storage]) -> None:
    """Give each storage its place: in the order of `keys`, an int64 element count before the bytes of each."""
    at = keys.end
    order = keys.root
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise MalformedFile("legacy checkpoint: the list of storages is not a list of keys")
    if len(order) != len(storages) or set(order) != storages.keys():
        raise MalformedFile("legacy checkpoint: the list of storages is not that of the pickle")
    for key in order:
        storage = storages[key]
        end = at + 8 + storage.source.nbytes
        if end > file.size:
            raise MalformedFile(f"legacy checkpoint: storage {key!r} ends at byte {end:,}, the file at {file.size:,}")
        count = struct.unpack_from("<q", file.map, at)[0]
        if count != storage.numel:
            raise MalformedFile(f"legacy checkpoint: storage {key!r} has {count:,} elements, not {storage.numel:,}")
        assert isinstance(storage.source, FileBytes)
        storage.source.offset = at + 8
        at = end
    if at != file.size:
        raise MalformedFile(f"legacy checkpoint: {file.size - at:,} bytes behind the last storage")
