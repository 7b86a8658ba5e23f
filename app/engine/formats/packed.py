"""A stored zip archive that a user packs: its entries side by side in one folder or none, each checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.zip_reader import read_directory, read_records
from app.errors import MalformedFile, UnsupportedContent


@dataclass(frozen=True, slots=True)
class Packed:
    """The entries by their names from `folder` on, which has its slash and is empty where they are in none."""

    folder: str
    files: Mapping[str, FileBytes]


def read_packed(file: MappedFile, limits: Limits, remedy: str) -> Packed:
    """Every entry of the archive; what is packed in another way is answered with `remedy`."""
    directory = read_directory(file, limits)
    for entry in directory.entries:
        if entry.name.endswith("/"):
            raise UnsupportedContent(f"the archive has an entry for the folder {entry.name!r}", remedy=remedy)
        if entry.method != 0:
            raise UnsupportedContent(f"{entry.name!r} is compressed (method {entry.method})", remedy=remedy)
    try:
        records = read_records(file, directory)
        for record in records.values():
            for _ in record.chunks():
                pass
    except MalformedFile as error:
        raise MalformedFile(error.detail, remedy=remedy) from error
    folders = {name[: name.rfind("/") + 1] for name in records}
    if len(folders) != 1:
        raise UnsupportedContent("the files of the archive are not all in one folder", remedy=remedy)
    folder = folders.pop()
    return Packed(folder, {name.removeprefix(folder): record for name, record in records.items()})
