"""External data: tensors of a model whose bytes are a range of a file that lies next to it in its archive."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.onnx.skeleton import KEPT_BYTES
from app.engine.formats.onnx.structure import attribute_tensors, main_tensors, sparse_tensors
from app.engine.formats.onnx.wire import damaged
from app.engine.ir.onnx_dtypes import torch_dtype
from app.errors import UnsupportedContent

Files = Mapping[str, FileBytes]  # by the `location` under which the model names each

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_SHOWN: Final = 12


def check_places(model: ModelProto, files: Files, limits: Limits) -> None:
    """Every external tensor, functions included, is a range of one of the files, and every file is named by one."""
    places = [
        (_fields(tensor)["location"], _range_of(tensor, files)) for tensor in filter(_is_external, _tensors(model))
    ]
    named = {location for location, _ in places}
    unnamed = [name for name in files if name not in named]
    if unnamed:
        raise UnsupportedContent(
            f"the archive holds {len(unnamed)} files that the model does not name: {shown(unnamed)}",
            remedy="Pack the model and its data files alone.",
            names=unnamed[:_SHOWN],
        )
    ranges = {(found.offset, found.nbytes) for _, found in places}
    more = sum(size for _, size in ranges) - sum(found.nbytes for found in files.values())
    check_limit("bytes that external tensors have more than their files, as they overlap", more, limits.max_repeated)


def attach(model: ModelProto, files: Files, data: Mapping[str, FileBytes], limits: Limits) -> dict[str, FileBytes]:
    """Turn external tensors into plain ones. The data of large ones of the main graph is given back, by name.

    All others hold their bytes themselves: shapes are read from small ones, and inner graphs are kept as they are.
    """
    attached: dict[str, FileBytes] = {}
    for name, tensor in main_tensors(model.graph):
        if _is_external(tensor):
            found = _range_of(tensor, files)
            if name in data:
                raise damaged(f"tensor {name!r} has its data in several places")
            if found.nbytes > KEPT_BYTES and torch_dtype(tensor.data_type) is not None:
                attached[name] = found
                _make_plain(tensor)
    _embed(_tensors(model), files, limits)
    return attached


def embed_inner(model: ModelProto, files: Files, limits: Limits) -> None:
    """Leave initializers of the main graph where they lie, all other external tensors hold their bytes themselves."""
    _embed(_beside_initializers(model), files, limits)


def _embed(tensors: Iterable[TensorProto], files: Files, limits: Limits) -> None:
    copied = 0
    for tensor in filter(_is_external, tensors):
        found = _range_of(tensor, files)
        copied += found.nbytes
        check_limit("bytes of external tensors that are small or in inner graphs", copied, limits.max_graph_bytes)
        _make_plain(tensor)
        tensor.raw_data = found.read()


def place(tensor: TensorProto, location: str, offset: int, length: int) -> TensorProto:
    """The message of a tensor whose bytes lie in a file, in the words of onnx.proto."""
    placed = TensorProto()
    placed.CopyFrom(tensor)
    placed.ClearField("raw_data")
    placed.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        placed.external_data.add(key=key, value=str(value))
    return placed


def shown(names: Iterable[str]) -> str:
    """The first of the names, for an error."""
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model, wherever it stands."""
    yield from model.graph.initializer
    yield from _beside_initializers(model)


def _beside_initializers(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor but the initializers of the main graph."""
    yield from sparse_tensors(model.graph)
    yield from _in_nodes(model.graph.node)
    for function in model.functions:
        yield from _in_nodes(function.node)
        for attribute in function.attribute_proto:
            yield from attribute_tensors(attribute)


def _in_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from sparse_tensors(graph)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute_tensors(attribute)
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _in_graph(graph)


def _is_external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data)


def _range_of(tensor: TensorProto, files: Files) -> FileBytes:
    """Where the bytes of the tensor lie. No path is made of what the model says: it names an entry, or nothing."""
    said = _fields(tensor)
    file = files.get(said["location"])
    if file is None:
        raise UnsupportedContent(
            f"tensor {tensor.name!r} lies in {said['location'][:200]!r}, and no file of that name is next to the model",
            remedy="Pack the model and its data files side by side, each under the name that the model gives it.",
        )
    offset = _number(tensor, "offset", said.get("offset", "0"))
    length = _number(tensor, "length", said["length"]) if "length" in said else max(file.nbytes - offset, 0)
    if offset + length > file.nbytes:
        raise damaged(
            f"tensor {tensor.name!r} lies in bytes {offset:,} to {offset + length:,} of {said['location']!r}, "
            f"which has {file.nbytes:,}"
        )
    return FileBytes(file.file, file.offset + offset, length, None, file.name)


def _fields(tensor: TensorProto) -> dict[str, str]:
    """What the message says of the place. The checksum is not looked at: the archive has one of its own."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location != TensorProto.EXTERNAL or len(said) != len(tensor.external_data):
        raise damaged(f"tensor {tensor.name!r} is external data in part, or says a thing twice")
    if "location" not in said or not said.keys() <= _KEYS:
        raise damaged(f"tensor {tensor.name!r} is external data with the keys {shown(sorted(said)) or 'none'}")
    held = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.string_data)
    if any(map(len, (*held, tensor.int64_data, tensor.double_data, tensor.uint64_data))):
        raise damaged(f"tensor {tensor.name!r} has its data in several places")
    return said


def _number(tensor: TensorProto, key: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise damaged(f"tensor {tensor.name!r} has the {key} {text[:40]!r}, which is no number")
    return int(text)


def _make_plain(tensor: TensorProto) -> None:
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
