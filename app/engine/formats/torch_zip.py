"""Zip checkpoints, as torch.save writes them since 1.6: a pickle, one record per storage, and a few small ones."""

from pathlib import Path
from typing import Any

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.persistent_ids import Fault, PersistentIds
from app.engine.formats.pickle_reader import read_pickle
from app.engine.formats.pickle_writer import write_pickle
from app.engine.formats.storage_writer import StorageNumbers, storage_chunks
from app.engine.formats.torch_file import TorchFile
from app.engine.formats.zip_reader import read_directory, read_records
from app.engine.formats.zip_writer import ZipWriter
from app.errors import MalformedFile, UnsupportedContent

_SERIALIZATION_ID = ".data/serialization_id"
# What torch writes beside pickle, storages and byte order: each a number in decimal.
_NUMBERS = frozenset({"version", ".format_version", ".storage_alignment", ".data/version", _SERIALIZATION_ID})
_LONGEST_NUMBER = 64
_LARGEST_SMALL_RECORD = 1 << 16
_NOTES = (".json", ".txt", ".yaml", ".yml", ".toml", ".md", ".csv")  # what users add is kept
_LARGEST_NOTE = 16 << 20
_SHOWN = 6


def read_torch_zip(file: MappedFile, limits: Limits) -> TorchFile:
    """The checkpoint as an inert tree; storages stay in the file."""
    archive, records = _split_root(read_records(file, read_directory(file, limits)))
    object_pickle = records.get("data.pkl")
    if object_pickle is None:
        raise MalformedFile("zip archive: there is no record data.pkl")
    check_limit("bytes of the pickle", object_pickle.nbytes, limits.max_pickle_bytes)
    _check_byte_order(records)
    _check_others(records)

    def open_bytes(key: str, nbytes: int) -> FileBytes:
        record = records.get(f"data/{key}")
        if record is None:
            raise Fault(f"storage {key!r} is not in the archive")
        if record.nbytes != nbytes:
            raise Fault(f"storage {key!r} has {record.nbytes:,} bytes in the archive, {nbytes:,} in the pickle")
        return record

    persistent = PersistentIds(open_bytes, limits)
    pickled = read_pickle(object_pickle.read(), 0, limits, persistent)
    _refuse_foreign(records, {f"data/{key}" for key in persistent.storages})
    leading, trailing = _around_storages(records)
    return TorchFile(
        format="torch-zip",
        root=pickled.root,
        storages=tuple(persistent.storages.values()),
        names=pickled.globals,
        objects=pickled.objects,
        protocol=pickled.protocol,
        archive=archive,
        leading=leading,
        trailing=trailing,
    )


def write_torch_zip(file: TorchFile, root: Any, target: Path) -> None:
    """`root` in an archive laid out as `file` was, streamed to `target`; only the storages that `root` refers to."""
    numbers = StorageNumbers()
    pickled = write_pickle(root, file.protocol, numbers.persistent_id)
    prefix = f"{file.archive}/"
    with target.open("wb") as stream:
        archive = ZipWriter(stream)
        archive.add(f"{prefix}data.pkl", len(pickled), (pickled,))
        for record in file.leading:
            archive.add(record.name, record.nbytes, record.chunks())
        for number, storage in enumerate(numbers.storages):
            archive.add(f"{prefix}data/{number}", storage.source.nbytes, storage_chunks(storage))
        for record in file.trailing:
            if record.name == prefix + _SERIALIZATION_ID:  # torch makes it of the content, too
                name = archive.content_id().encode()
                archive.add(record.name, len(name), (name,))
            else:
                archive.add(record.name, record.nbytes, record.chunks())
        archive.close()


def _split_root(records: dict[str, FileBytes]) -> tuple[str, dict[str, FileBytes]]:
    """The one folder that everything is in, and the records by their names within it."""
    roots = {name.partition("/")[0] for name in records}
    if len(roots) != 1 or any("/" not in name for name in records):
        raise MalformedFile("zip archive: its records are not all in one folder")
    return roots.pop(), {name.partition("/")[2]: record for name, record in records.items()}


def _check_byte_order(records: dict[str, FileBytes]) -> None:
    order = records.get("byteorder")
    if order is None:
        return
    check_limit("bytes of the record byteorder", order.nbytes, _LARGEST_SMALL_RECORD)
    content = order.read()
    if content == b"big":
        raise UnsupportedContent(
            "the checkpoint was written on a big-endian machine",
            remedy="Load it with torch on a little-endian machine and save it again.",
        )
    if content != b"little":
        raise MalformedFile(f"zip archive: byteorder is {content[:20]!r}")


def _check_others(records: dict[str, FileBytes]) -> None:
    for name in _NUMBERS & records.keys():
        if records[name].nbytes > _LONGEST_NUMBER or not records[name].read().strip().isdigit():
            raise MalformedFile(f"zip archive: the record {name} is not a number")


def _refuse_foreign(records: dict[str, FileBytes], storages: set[str]) -> None:
    """What torch did not write and is no text is not handed on: modules, libraries, a second pickle."""
    others = records.keys() - storages - _NUMBERS - {"data.pkl", "byteorder"}
    foreign = sorted(name for name in others if not _is_note(name, records[name]))
    if foreign:
        shown = ", ".join(name[:100] for name in foreign[:_SHOWN]) + (", ..." if len(foreign) > _SHOWN else "")
        raise UnsupportedContent(
            f"the archive holds {len(foreign)} records that are not of the checkpoint: {shown}",
            remedy="Upload the file as torch.save wrote it.",
            names=[name[:100] for name in foreign[:_SHOWN]],
        )


def _is_note(name: str, record: FileBytes) -> bool:
    if not name.endswith(_NOTES) or record.nbytes > _LARGEST_NOTE:
        return False
    try:
        record.read().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _around_storages(records: dict[str, FileBytes]) -> tuple[tuple[FileBytes, ...], tuple[FileBytes, ...]]:
    """The other records: those that torch puts before the storages, and the rest."""
    others = {name: record for name, record in records.items() if name != "data.pkl" and not name.startswith("data/")}
    first = min((record.offset for name, record in records.items() if name.startswith("data/")), default=0)

    def leads(name: str, record: FileBytes) -> bool:
        return record.offset < first if first else name in (".format_version", ".storage_alignment", "byteorder")

    leading = tuple(record for name, record in others.items() if leads(name, record))
    return leading, tuple(record for name, record in others.items() if not leads(name, record))
