"""What one .pt2 file holds: the program, and where each part of it lies in the archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from app.engine.formats.pt2.archive import Archive
from app.engine.formats.pt2.json_text import Table
from app.engine.formats.pt2.payloads import Payload
from app.engine.formats.torch_file import TorchFile
from app.engine.ir.exported import Exported


@dataclass(frozen=True, slots=True)
class Pt2File(Exported):
    """An exported program as it lies in its file."""

    format: ClassVar[str] = "pt2"

    archive: Archive
    document: Table  # the program's JSON; not to be written to
    payloads: Mapping[str, Payload]  # by path
    pickled: Mapping[str, TorchFile]  # by folder, where its tensors are in one file of torch.save (torch 2.8)

    @property
    def globals(self) -> tuple[str, ...]:
        """Those of its pickled tensors; no name in the file is ever looked up."""
        return tuple(sorted({name for file in self.pickled.values() for name in file.globals}))
