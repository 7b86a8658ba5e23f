"""The file of the caller's inputs: .npy, .npz or safetensors, by its content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.safetensors import read_safetensors
from app.engine.ir.tensors import tensor_of
from app.engine.probes.invalid import invalid_probe
from app.engine.probes.npy import MAGIC, MAX_NUMBERS, read_npy
from app.engine.probes.npz import read_npz
from app.errors import MalformedFile, TooLarge, UnsupportedContent

# Arrays by name; the name of the one in a .npy file is empty.
Given = Mapping[str, Tensor]

_MAX_ARRAYS: Final = 64


def read_probe(path: Path) -> Given:
    """The arrays in the file, all of finite numbers. Raises InvalidProbe."""
    try:
        found = _read(MappedFile(path))
    except (MalformedFile, TooLarge, UnsupportedContent) as error:
        raise invalid_probe(f"can't be read: {error.detail.rstrip('.')}") from error
    if not found:
        raise invalid_probe("holds no array")
    for name, tensor in found.items():
        _check(name, tensor)
    return found


def _read(file: MappedFile) -> dict[str, Tensor]:
    if file.map[: len(MAGIC)] == MAGIC:
        return {"": read_npy(memoryview(file.read(0, file.size)), "")} if file.size <= _most() else _too_large(file)
    if file.map[:4] == b"PK\x03\x04":
        return read_npz(file)
    return _safetensors(file)


def _most() -> int:
    return 8 * MAX_NUMBERS + (1 << 16)


def _too_large(file: MappedFile) -> dict[str, Tensor]:
    raise invalid_probe(f"has {file.size:,} bytes, the limit is {_most():,}", "Give fewer inputs.")


def _safetensors(file: MappedFile) -> dict[str, Tensor]:
    if file.size > _most():
        _too_large(file)
    if file.size < 10 or file.map[8:9] != b"{":
        raise invalid_probe("is neither .npy nor .npz nor safetensors")
    limits = Limits(max_storages=_MAX_ARRAYS)
    tensors = read_safetensors(FileBytes(file, 0, file.size), limits).tensors
    stored = {name: tensor_of(node) for name, node in tensors.items()}
    return {name: one.read().clone() for name, one in stored.items() if one is not None}


def _check(name: str, tensor: Tensor) -> None:
    shown = f"array {name[:100]!r}" if name else "array"
    if tensor.numel() == 0:
        raise invalid_probe(f"{shown} has no number in it (shape {_sizes(tensor)})")
    if tensor.dtype.is_complex or (tensor.dtype.itemsize == 1 and tensor.dtype.is_floating_point):
        raise invalid_probe(f"{shown} is of {tensor.dtype}, which no model is called with")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise invalid_probe(f"{shown} holds NaN or infinity", "Nothing could be compared with such inputs: clean them.")


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "of one number"
