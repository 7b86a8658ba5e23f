"""Reading and writing of checkpoint files. Nothing of a file is imported, called or evaluated."""

from pathlib import Path
from typing import Any

from app.engine.formats.detect import (
    ONNX,
    ONNX_ZIP,
    PT2,
    SAFETENSORS,
    SAFETENSORS_ZIP,
    TORCH_LEGACY,
    TORCH_ZIP,
    Kind,
    detect,
    unsupported,
)
from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.torch_file import TorchFile
from app.engine.formats.torch_legacy import read_torch_legacy, write_torch_legacy
from app.engine.formats.torch_zip import read_torch_zip, write_torch_zip

__all__ = ["GRAPH_KINDS", "WEIGHT_KINDS", "Kind", "Limits", "TorchFile", "detect_file", "read_file", "write_file"]

_DEFAULTS = Limits()
# Formats that hold the data flow; each has a reader of its own below this package.
GRAPH_KINDS = frozenset({ONNX, ONNX_ZIP, PT2})
# Formats that hold names and weights alone; their reader is below this package, too.
WEIGHT_KINDS = frozenset({SAFETENSORS, SAFETENSORS_ZIP})


def detect_file(path: Path, limits: Limits = _DEFAULTS) -> Kind:
    """What kind of file lies at `path`, by its content."""
    return detect(MappedFile(path), limits)


def read_file(path: Path, limits: Limits = _DEFAULTS) -> TorchFile:
    """The checkpoint at `path` as an inert tree; UnsupportedFormat says what it is if it is something else."""
    file = MappedFile(path)
    kind = detect(file, limits)
    if kind == TORCH_ZIP:
        return read_torch_zip(file, limits)
    if kind == TORCH_LEGACY:
        return read_torch_legacy(file, limits)
    raise unsupported(kind)


def write_file(file: TorchFile, root: Any, target: Path) -> None:
    """`root` as a checkpoint of the same format as `file`, which it was read from; the same bytes for the same tree.

    `target` must not be the file that was read: its storages are still in there.
    """
    if file.format == "torch-zip":
        write_torch_zip(file, root, target)
    else:
        write_torch_legacy(file, root, target)
