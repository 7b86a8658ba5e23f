"""What is fuzzed: each reader, from bytes to its value. Anything but a typed error is a defect."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from app.engine.formats.detect import detect
from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx import read_onnx
from app.engine.formats.persistent_ids import PersistentIds
from app.engine.formats.pickle_reader import read_pickle
from app.engine.formats.pickle_writer import write_pickle
from app.engine.formats.pt2.document import read_document
from app.engine.formats.pt2.expressions import parse
from app.engine.formats.pt2.json_text import read_json
from app.engine.formats.safetensors import read_safetensors
from app.engine.formats.storage_writer import StorageNumbers
from app.engine.formats.torch_file import TorchFile
from app.engine.formats.torch_legacy import read_torch_legacy
from app.engine.formats.torch_zip import read_torch_zip
from app.engine.formats.zip_reader import read_directory, read_records
from app.engine.ir.checkpoint import find_model, holds_model
from app.engine.ir.members import check_members
from app.engine.ir.tensors import MemoryBytes
from app.engine.loading import Allowed, unsafe_names
from app.errors import AppError

# Small, so that inputs that are large within end soon.
LIMITS = Limits(
    max_pickle_bytes=1 << 20,
    max_operations=20_000,
    max_memo=5_000,
    max_objects=5_000,
    max_tensor_bytes=1 << 24,
    max_repeated=1 << 12,
    max_graph_bytes=1 << 20,
    max_graph_nodes=2_000,
    max_graph_fields=20_000,
)


@contextmanager
def _mapped(content: bytes) -> Iterator[MappedFile]:
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, content)
        yield MappedFile(Path(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


def pickle_machine(content: bytes) -> None:
    """One pickle: read, its names judged, the model in it looked for, and written again."""
    persistent = PersistentIds(lambda key, nbytes: MemoryBytes(torch.zeros(nbytes, dtype=torch.uint8)), LIMITS)
    read = read_pickle(content, 0, LIMITS, persistent)
    file = TorchFile("torch-zip", read.root, (), read.globals, read.objects, read.protocol)
    "".join((*file.globals, *unsafe_names(file, Allowed()))).encode()
    if holds_model(read.root):
        check_members(find_model(read.root).module)
    written = write_pickle(read.root, read.protocol, StorageNumbers().persistent_id)
    read_pickle(written, 0, Limits(), persistent)


def zip_archive(content: bytes) -> None:
    with _mapped(content) as file:
        for record in read_records(file, read_directory(file, LIMITS)).values():
            record.read()


def checkpoint(content: bytes) -> None:
    with _mapped(content) as file:
        kind = detect(file, LIMITS)
        if kind.code == "torch-zip":
            read_torch_zip(file, LIMITS)
        elif kind.code == "torch-legacy":
            read_torch_legacy(file, LIMITS)


def safetensors(content: bytes) -> None:
    with _mapped(content) as file:
        read_safetensors(FileBytes(file, 0, file.size), LIMITS)


def onnx(content: bytes) -> None:
    with _mapped(content) as file:
        read_onnx(file, LIMITS)


def pt2(content: bytes) -> None:
    """The JSON of a program, without weights."""
    with _mapped(content) as file:
        read_document(read_json(FileBytes(file, 0, file.size)), {})


def expression(content: bytes) -> None:
    parse(content.decode("utf-8", "replace"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pickle_machine": pickle_machine,
    "zip_archive": zip_archive,
    "checkpoint": checkpoint,
    "safetensors": safetensors,
    "onnx": onnx,
    "pt2": pt2,
    "expression": expression,
}


def guarded(name: str) -> Callable[[bytes], None]:
    """The target, its typed errors expected."""
    target = TARGETS[name]

    def run(content: bytes) -> None:
        with suppress(AppError):
            target(content)

    return run
