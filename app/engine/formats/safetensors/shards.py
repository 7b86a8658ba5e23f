"""Sharded safetensors: an index that says which file has which tensor, and those files, in one stored zip archive."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.packed import Packed, read_packed
from app.engine.formats.safetensors.file import SafetensorsFile, Tensors, laid_out, read_safetensors
from app.engine.formats.safetensors.json_object import MAX_JSON_BYTES, damaged, read_object, text
from app.engine.formats.zip_writer import ZipWriter
from app.engine.ir.tensors import tensor_of
from app.errors import UnsupportedContent

INDEX: Final = ".safetensors.index.json"
_PACK: Final = "Pack index and shards, without folders: zip -0 -j model.zip *.safetensors.index.json *.safetensors"
_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class ShardedFile:
    """`shards` by file name; `order` has every tensor's shard, in the order of the index."""

    folder: str
    index: str  # name of the index
    metadata: Mapping[str, Any] | None
    shards: Mapping[str, SafetensorsFile]
    order: Mapping[str, str]

    @property
    def tensors(self) -> Tensors:
        return {name: self.shards[shard].tensors[name] for name, shard in self.order.items()}


def read_shards(file: MappedFile, limits: Limits) -> ShardedFile:
    """All shards, which together hold exactly what the index says."""
    packed = read_packed(file, limits, _PACK)
    indexes = [name for name in packed.files if name.endswith(INDEX)]
    if len(indexes) != 1:
        raise UnsupportedContent(f"the archive has {len(indexes)} files *{INDEX}", remedy=_PACK)
    metadata, order = _read_index(packed, indexes[0])
    named = dict.fromkeys(order.values())
    _check_files(packed, indexes[0], set(named))
    shards = {name: read_safetensors(packed.files[name], limits) for name in named}
    _check_order(order, shards)
    return ShardedFile(packed.folder, indexes[0], metadata, shards, order)


def _read_index(packed: Packed, name: str) -> tuple[dict[str, Any] | None, dict[str, str]]:
    record = packed.files[name]
    check_limit(f"bytes of {name}", record.nbytes, MAX_JSON_BYTES)
    found = read_object(record.read(), name)
    if not {"weight_map"} <= found.keys() <= {"metadata", "weight_map"} or not isinstance(found["weight_map"], dict):
        raise damaged(f"{name} does not have exactly metadata and weight_map")
    metadata = found.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise damaged(f"metadata of {name} is not an object")
    places = {
        text(tensor, f"the name {tensor[:100]!r}"): text(shard, f"the shard of {tensor[:100]!r}")
        for tensor, shard in found["weight_map"].items()
    }
    return metadata, places


def _check_files(packed: Packed, index: str, named: set[str]) -> None:
    """No path is made of what the index says: it names a file of the archive, or nothing."""
    missing = sorted(named - packed.files.keys())
    if missing:
        raise UnsupportedContent(f"the archive lacks {len(missing)} shards: {_listed(missing)}", remedy=_PACK)
    more = sorted(packed.files.keys() - named - {index})
    if more:
        raise UnsupportedContent(f"the archive holds {len(more)} more files: {_listed(more)}", remedy=_PACK)


def _check_order(order: Mapping[str, str], shards: Mapping[str, SafetensorsFile]) -> None:
    held = {(name, shard) for shard, file in shards.items() for name in file.tensors}
    wrong = sorted(name for name, _ in held.symmetric_difference(order.items()))
    if wrong:
        raise damaged(f"index and shards disagree about {len(wrong):,} tensors: {_listed(wrong)}")


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name[:100]) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def write_shards(file: ShardedFile, tensors: Tensors, target: Path) -> None:
    """These tensors in the same shards: a new one is where the tensor before it is. A shard that is empty then goes."""
    places: dict[str, str] = {}
    shard = next(iter(file.shards), "")
    for name in tensors:
        shard = file.order.get(name, shard)
        places[name] = shard
    with target.open("wb") as stream:
        archive = ZipWriter(stream)
        index = _index(file, tensors, places)
        archive.add(file.folder + file.index, len(index), (index,))
        for shard, held in file.shards.items():
            # In the order of the shard's own header, as far as its tensors had one.
            there = {name: node for name, node in tensors.items() if places[name] == shard}
            if not there:
                continue
            kept = [name for name in held.tensors if name in there]
            size, chunks = laid_out(_merged(kept, there), held.metadata)
            archive.add(file.folder + shard, size, chunks)
        archive.close()


def _merged(kept: list[str], there: Tensors) -> Tensors:
    """The tensors that stayed in their old order, each new one behind the one that it stands behind."""
    behind: dict[str, list[str]] = {}
    last = ""
    known = set(kept)
    for name in there:
        if name in known:
            last = name
        else:
            behind.setdefault(last, []).append(name)
    names = [*behind.get("", ()), *(found for name in kept for found in (name, *behind.get(name, ())))]
    return {name: there[name] for name in names}


def _index(file: ShardedFile, tensors: Tensors, places: Mapping[str, str]) -> bytes:
    """The index with the sizes that it gave brought up to date."""
    found: dict[str, Any] = {}
    if file.metadata is not None:
        shapes = [stored for stored in map(tensor_of, tensors.values()) if stored is not None]
        sizes = {
            "total_size": sum(stored.nbytes for stored in shapes),
            "total_parameters": sum(prod(stored.shape) for stored in shapes),
        }
        had = file.metadata.items()
        found["metadata"] = {key: sizes[key] if type(value) is int and key in sizes else value for key, value in had}
    found["weight_map"] = dict(places)
    return (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
