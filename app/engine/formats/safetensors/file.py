"""One safetensors file as a value: its tensors as nodes of the inert tree, and the file that is written for such."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import CHUNK_BYTES, FileBytes
from app.engine.formats.safetensors.header import NAMES, read_header
from app.engine.formats.storage_writer import storage_chunks
from app.engine.ir.node import Object
from app.engine.ir.tensors import StoredTensor, stored_node, tensor_of
from app.errors import UnsupportedContent

Tensors = Mapping[str, Object]


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """`tensors` in the order of the header; they stay in the file that was read."""

    tensors: Tensors
    metadata: Mapping[str, str] | None


def read_safetensors(whole: FileBytes, limits: Limits) -> SafetensorsFile:
    """The tensors of the file, none of them read yet."""
    header = read_header(whole, limits)
    at = whole.offset + header.start
    tensors = {
        name: stored_node(
            FileBytes(whole.file, at + entry.begin, entry.end - entry.begin, None, whole.name), entry.shape, entry.dtype
        )
        for name, entry in header.entries.items()
    }
    return SafetensorsFile(tensors, header.metadata)


def write_safetensors(file: SafetensorsFile, tensors: Tensors, target: Path) -> None:
    """These tensors with the metadata of `file`, streamed to `target`."""
    _, chunks = laid_out(tensors, file.metadata)
    with target.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)


def laid_out(tensors: Tensors, metadata: Mapping[str, str] | None) -> tuple[int, Iterator[bytes | memoryview]]:
    """A file of these tensors, and how many bytes it has.

    The header keeps the order of names; the tensors lie by falling size of their elements, so that all are aligned.
    """
    stored = {name: _stored(name, node) for name, node in tensors.items()}
    placed = sorted(stored, key=lambda name: -stored[name].dtype.itemsize)
    offsets, at = {}, 0
    for name in placed:
        offsets[name] = (at, at + stored[name].nbytes)
        at += stored[name].nbytes
    head: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    for name, tensor in stored.items():
        head[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": list(offsets[name])}
    raw = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    return 8 + len(raw) + at, _chunks(raw, [stored[name] for name in placed])


def _stored(name: str, node: Object) -> StoredTensor:
    tensor = tensor_of(node)
    assert tensor is not None
    if tensor.dtype not in NAMES:
        raise UnsupportedContent(f"{name} is of {tensor.dtype}, which safetensors has not", remedy="Leave dtype out.")
    return tensor


def _chunks(header: bytes, tensors: list[StoredTensor]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little")
    yield header
    for tensor in tensors:
        if _fills_its_storage(tensor):
            yield from storage_chunks(tensor.storage)
        else:
            content = tensor.read().contiguous().reshape(-1).view(torch.uint8)
            for start in range(0, content.numel(), CHUNK_BYTES):
                yield content[start : start + CHUNK_BYTES].numpy().data


def _fills_its_storage(tensor: StoredTensor) -> bool:
    """Whether the bytes of the storage are those of the tensor, row after row."""
    wanted = 1
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if size != 1 and step != wanted:
            return False
        wanted *= size
    return tensor.offset == 0 and tensor.storage.source.nbytes == tensor.nbytes
