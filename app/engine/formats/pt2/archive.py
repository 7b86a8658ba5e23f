"""The records of a .pt2 archive by what they are for; parts that hold code or foreign formats are refused by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.zip_reader import read_directory, read_records
from app.errors import MalformedFile, UnsupportedContent

MODELS: Final = "models/"
WEIGHTS: Final = "data/weights/"
CONSTANTS: Final = "data/constants/"
SAMPLES: Final = "data/sample_inputs/"
SERIALIZATION_ID: Final = ".data/serialization_id"
_EXTRA: Final = "extra/"
_SMALL: Final = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
_KNOWN: Final = frozenset(
    {*_SMALL, SERIALIZATION_ID, ".data/version", ".format_version", ".storage_alignment", "models_info.json"}
)
_SINGLE_FILE: Final = "serialized_exported_program.json"
_LARGEST_SMALL_RECORD: Final = 1 << 16
_SHOWN: Final = 12
_AGAIN: Final = (
    "Load it with torch.export.load where it was made, and save it with torch.export.save of torch 2.8 or newer."
)


@dataclass(frozen=True, slots=True)
class Archive:
    """One exported program's records, by their names without the folder that all are in."""

    root: str
    model: str  # the name under which the program is saved
    records: Mapping[str, FileBytes]  # in file order

    def under(self, folder: str) -> dict[str, FileBytes]:
        """The records of a folder by their names in it."""
        return {name.removeprefix(folder): found for name, found in self.records.items() if name.startswith(folder)}


def read_archive(file: MappedFile, limits: Limits) -> Archive:
    """The records, each of a kind that is read. Raises UnsupportedContent with the names of all others."""
    directory = read_directory(file, limits)
    if any(entry.name.rpartition("/")[2] == _SINGLE_FILE for entry in directory.entries):
        raise UnsupportedContent("the .pt2 file has the layout of torch before 2.8", remedy=_AGAIN)
    root, records = _split_root(read_records(file, directory))
    _refuse_foreign(records)
    for name, content in _SMALL.items():
        _check_small(name, records.get(name), content)
    return Archive(root, _only_model(records), records)


def _split_root(records: Mapping[str, FileBytes]) -> tuple[str, dict[str, FileBytes]]:
    """The one folder that everything is in, and the records by their names within it."""
    roots = {name.partition("/")[0] for name in records}
    if len(roots) != 1 or any("/" not in name for name in records):
        raise MalformedFile("zip archive: its records are not all in one folder")
    return roots.pop(), {name.partition("/")[2]: record for name, record in records.items()}


def _refuse_foreign(records: Iterable[str]) -> None:
    foreign = sorted(name for name in records if not _readable(name))
    if foreign:
        shown = ", ".join(foreign[:_SHOWN]) + (", ..." if len(foreign) > _SHOWN else "")
        raise UnsupportedContent(
            f"the archive holds {len(foreign)} parts that are not a plain exported program: {shown}",
            remedy="Upload what torch.export.save wrote, without compiled code, delegates and custom objects.",
            names=foreign[:_SHOWN],
        )


def _readable(name: str) -> bool:
    """Graph, weights, constants, example inputs, and the user's own texts."""
    folder = next((one for one in (MODELS, WEIGHTS, CONSTANTS, SAMPLES, _EXTRA) if name.startswith(one)), None)
    if folder is None:
        return name in _KNOWN
    inner = name.removeprefix(folder)
    if folder == _EXTRA:
        return not inner.endswith((".so", ".pkl"))
    if folder == CONSTANTS and inner.startswith(("custom_obj_", "opaque_obj_")):
        return False
    return "/" not in inner and not inner.endswith(".so")


def _check_small(name: str, record: FileBytes | None, expected: bytes) -> None:
    if record is None:
        if name == "byteorder":
            return
        raise MalformedFile(f"the .pt2 archive has no record {name}")
    check_limit(f"bytes of the record {name}", record.nbytes, _LARGEST_SMALL_RECORD)
    content = record.read()
    if content != expected:
        raise UnsupportedContent(
            f"the record {name} of the .pt2 archive says {content[:20]!r}, {expected!r} is read", remedy=_AGAIN
        )


def _only_model(records: Iterable[str]) -> str:
    models = sorted(name.removeprefix(MODELS) for name in records if name.startswith(MODELS))
    if not models:
        raise UnsupportedContent("the .pt2 archive holds no exported program", remedy=_AGAIN)
    if len(models) > 1:
        shown = ", ".join(models[:_SHOWN])
        raise UnsupportedContent(
            f"the .pt2 archive holds {len(models)} programs: {shown}", remedy="Save each in a file of its own."
        )
    if not models[0].endswith(".json"):
        raise MalformedFile(f"the program {models[0][:100]!r} of the .pt2 archive is not JSON")
    return models[0].removesuffix(".json")
