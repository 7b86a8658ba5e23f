"""Weights and constants: which bytes of the archive each one is. No tensor is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from app.engine.formats.geometry import tensor_fault
from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.pt2 import json_text as js
from app.engine.formats.pt2.archive import CONSTANTS, WEIGHTS, Archive
from app.engine.formats.pt2.arguments import STRIDED, dtype_of
from app.engine.formats.pt2.pickled import read_weights
from app.engine.formats.torch_file import TorchFile
from app.engine.ir.node import Storage
from app.engine.ir.tensors import MAX_DIMENSIONS, StoredTensor, is_parameter, storage_kind, tensor_of
from app.errors import MalformedFile, UnsupportedContent

_SHOWN: Final = 12
_CONFIGS: Final = {WEIGHTS: "_weights_config.json", CONSTANTS: "_constants_config.json"}


@dataclass(frozen=True, slots=True)
class Payload:
    """One tensor of the archive. `entry` is its line in the table of contents."""

    folder: str
    record: str  # within the folder
    parameter: bool
    tensor: StoredTensor
    entry: js.Table  # empty for one in a file of torch.save


def config_name(folder: str, model: str) -> str:
    """The record with the folder's table of contents."""
    return f"{folder}{model}{_CONFIGS[folder]}"


def pickled_name(folder: str, model: str) -> str:
    """The record with all tensors of the folder, as torch 2.8 wrote it."""
    return f"{folder}{model}.pt"


def read_payloads(archive: Archive, limits: Limits) -> tuple[dict[str, Payload], dict[str, TorchFile]]:
    """All weights and constants by path, and the files of torch.save that they are in, by folder.

    Raises UnsupportedContent for those that are pickled each for itself.
    """
    payloads: dict[str, Payload] = {}
    pickled: dict[str, TorchFile] = {}
    for folder in (WEIGHTS, CONSTANTS):
        for path, payload in _read_folder(archive, folder, pickled, limits).items():
            if path in payloads:
                raise MalformedFile(f"the archive has {path[:200]} among its weights and among its constants")
            payloads[path] = payload
    storages = {id(payload.tensor.storage): payload.tensor.storage for payload in payloads.values()}
    check_limit("bytes of tensor data", sum(one.source.nbytes for one in storages.values()), limits.max_tensor_bytes)
    check_limit("storages", len(storages), limits.max_storages)
    return payloads, pickled


def _read_folder(archive: Archive, folder: str, pickled: dict[str, TorchFile], limits: Limits) -> dict[str, Payload]:
    records = archive.under(folder)
    whole = pickled_name(folder, archive.model).removeprefix(folder)
    if list(records) == [whole]:
        return _unpickled(folder, whole, records[whole], pickled, limits)
    name = config_name(folder, archive.model).removeprefix(folder)
    if name not in records:
        raise MalformedFile(f"the archive has no table of contents {folder}{name}")
    config = js.table(js.read_json(records.pop(name)).get("config"), name)
    _refuse_pickled(config, name)
    storages: dict[str, Storage] = {}
    payloads = {path: _payload(path, entry, folder, records, storages) for path, entry in config.items()}
    unused = sorted(set(records) - set(storages))
    if unused:
        raise MalformedFile(f"no weight refers to the record {folder}{unused[0]}")
    return payloads


def _unpickled(
    folder: str, whole: str, record: FileBytes, pickled: dict[str, TorchFile], limits: Limits
) -> dict[str, Payload]:
    pickled[folder], nodes = read_weights(record, folder.split("/")[1], limits)
    found = {path: (node, tensor_of(node)) for path, node in nodes.items()}
    return {
        path: Payload(folder, whole, is_parameter(node), tensor, {})
        for path, (node, tensor) in found.items()
        if tensor is not None
    }


def _refuse_pickled(config: Mapping[str, Any], where: str) -> None:
    pickled = [path for path, entry in config.items() if js.table(entry, where).get("use_pickle") is not False]
    if pickled:
        shown = ", ".join(pickled[:_SHOWN])
        raise UnsupportedContent(
            f"{len(pickled)} tensors of the archive are pickled objects: {shown[:1000]}",
            remedy="Convert tensor subclasses (quantised, distributed) to plain tensors before exporting.",
            names=pickled[:_SHOWN],
        )


def _payload(
    path: str, entry: Any, folder: str, records: Mapping[str, FileBytes], storages: dict[str, Storage]
) -> Payload:
    fields = js.table(entry, path)
    record = js.name(fields.get("path_name"), path)
    if record not in records:
        raise MalformedFile(f"the bytes of {path[:200]} are not in the archive: no record {folder}{record[:200]}")
    meta = js.table(fields.get("tensor_meta"), path)
    dtype = dtype_of(meta.get("dtype"), path)
    if dtype is None or meta.get("layout") != STRIDED:
        raise UnsupportedContent(f"{path[:200]} is not a dense tensor of a dtype that is read")
    storage = storages.setdefault(record, _storage(record, dtype, records[record]))
    tensor = StoredTensor(
        storage,
        _integers([meta.get("storage_offset")], path)[0],
        _integers(meta.get("sizes"), path),
        _integers(meta.get("strides"), path),
        dtype,
        js.truth(meta.get("requires_grad"), path),
    )
    _check(path, tensor)
    return Payload(folder, record, js.truth(fields.get("is_param"), path), tensor, fields)


def _storage(record: str, dtype: torch.dtype, source: FileBytes) -> Storage:
    return Storage(storage_kind(dtype), record, "cpu", source.nbytes // dtype.itemsize, source)


def _integers(value: Any, path: str) -> tuple[int, ...]:
    sizes = js.items(value, path)
    if len(sizes) > MAX_DIMENSIONS:
        raise js.fault(path, "has too many dimensions")
    found = []
    for size in sizes:
        kind, number = js.union(size, path)
        if kind != "as_int":
            raise js.fault(path, "has a size that is not a number")
        found.append(js.integer(number, path))
    return tuple(found)


def _check(path: str, tensor: StoredTensor) -> None:
    if len(tensor.shape) != len(tensor.stride):
        raise js.fault(path, "has other strides than sizes")
    if storage_kind(tensor.dtype) != tensor.storage.kind:
        raise js.fault(path, "shares its bytes with a tensor of another dtype")
    if tensor.storage.source.nbytes == 0 and tensor.numel:
        raise UnsupportedContent(
            f"{path[:200]} has no bytes: the program was exported on fake tensors",
            remedy="Export the model with its real weights.",
        )
    wrong = tensor_fault(tensor)
    if wrong is not None:
        raise MalformedFile(f"{path[:200]}: {wrong}")
