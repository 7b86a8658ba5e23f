"""What kind of file this is, by its content and never by its name."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.zip_reader import read_directory
from app.errors import UnsupportedFormat

# The magic number of legacy checkpoints as a pickle writes it: LONG1 of ten bytes, or decimal text.
_LEGACY: Final = (b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", b"L119547037146038801333356L\n.")
_HEAD_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file; `remedy` is empty for those that are read."""

    code: str
    name: str
    remedy: str = ""


TORCH_ZIP: Final = Kind("torch-zip", "a torch checkpoint")
TORCH_LEGACY: Final = Kind("torch-legacy", "a torch checkpoint of before 1.6")
_CHECKPOINT: Final = "Upload the checkpoint that your training wrote with torch.save(model, ...)."
TORCHSCRIPT: Final = Kind(
    "torchscript",
    "a TorchScript archive (torch.jit.save)",
    "Upload the checkpoint with the model it was scripted from, or export it to .pt2 or ONNX.",
)
PT2: Final = Kind("pt2", "a torch.export archive (.pt2)")
TORCH_PACKAGE: Final = Kind("torch-package", "a torch.package archive", _CHECKPOINT)
NPZ: Final = Kind("npz", "a NumPy archive (.npz)", f"It holds arrays without the model. {_CHECKPOINT}")
ZIP: Final = Kind("zip", "a zip archive, but none of torch's", f"Unpack it. {_CHECKPOINT}")
SAFETENSORS: Final = Kind("safetensors", "a safetensors file")
SAFETENSORS_ZIP: Final = Kind("safetensors-zip", "sharded safetensors in a zip archive")
_SHARDS: Final = Kind(
    "zip",
    "a zip archive of safetensors files without an index",
    "Upload a single file as it is, and shards in an archive with their *.safetensors.index.json.",
)
ONNX: Final = Kind("onnx", "an ONNX model")
ONNX_ZIP: Final = Kind("onnx-zip", "an ONNX model with external data in a zip archive")
_ONNX_ZIPS: Final = Kind("zip", "a zip archive of several ONNX models", "Upload each in an archive of its own.")
TAR: Final = Kind("tar", "a tar archive", f"Unpack it; a torch file of before 0.2 must be saved again. {_CHECKPOINT}")
GZIP: Final = Kind("gzip", "compressed with gzip", "Unpack it (gunzip) and upload the checkpoint in it.")
HDF5: Final = Kind("hdf5", "an HDF5 file (Keras, for example)", _CHECKPOINT)
PICKLE: Final = Kind("pickle", "a plain pickle that torch.save did not write", _CHECKPOINT)
UNKNOWN: Final = Kind("unknown", "of no kind that is known here", _CHECKPOINT)


def detect(file: MappedFile, limits: Limits) -> Kind:
    """The kind of `file`; MalformedFile for a zip archive without a sound directory."""
    head = file.map[:_HEAD_BYTES]
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind([entry.name for entry in read_directory(file, limits).entries])
    if any(magic in head[:64] for magic in _LEGACY):
        return TORCH_LEGACY
    return next((kind for kind, fits in _SIGNS if fits(head, file.size)), UNKNOWN)


def unsupported(kind: Kind) -> UnsupportedFormat:
    """The error for a kind that is not read."""
    return UnsupportedFormat(f"the file is {kind.name}", remedy=kind.remedy, kind=kind.code)


def _zip_kind(names: list[str]) -> Kind:
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return TORCHSCRIPT
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return PT2
    if "serialized_exported_program.json" in names or "serialized_exported_program.json" in inner:
        return PT2
    if ".data/extern_modules" in inner:
        return TORCH_PACKAGE
    if "data.pkl" in inner:
        return TORCH_ZIP
    models = sum(name.endswith(".onnx") for name in names)
    if models:
        return ONNX_ZIP if models == 1 else _ONNX_ZIPS
    if any(name.endswith(".safetensors.index.json") for name in names):
        return SAFETENSORS_ZIP
    if any(name.endswith(".safetensors") for name in names):
        return _SHARDS
    return NPZ if names and all(name.endswith(".npy") for name in names) else ZIP


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10:
        return False
    return 2 <= int(struct.unpack_from("<Q", head)[0]) <= size - 8 and head[8:9] == b"{"


def _is_onnx(head: bytes, size: int) -> bool:
    """A ModelProto: field 1 is the small ir_version, then a string (producer, domain) or the graph."""
    return len(head) > 3 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] in (0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42)


def _is_pickle(head: bytes, size: int) -> bool:
    return (head[0] == 0x80 and head[1:2] <= b"\x05") or head[:1] in (b"(", b"]", b"}", b"c")


_SIGNS: Final[tuple[tuple[Kind, Callable[[bytes, int], bool]], ...]] = (
    (HDF5, lambda head, _: head.startswith(b"\x89HDF\r\n\x1a\n")),
    (GZIP, lambda head, _: head.startswith(b"\x1f\x8b")),
    (TAR, lambda head, _: head[257:262] == b"ustar"),
    (SAFETENSORS, _is_safetensors),
    (ONNX, _is_onnx),
    (PICKLE, _is_pickle),
)
