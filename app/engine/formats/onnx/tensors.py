"""Tensors of a model: is what they declare what they hold, and where does it lie?"""

import math
from typing import Final

import torch
from onnx import NodeProto, TensorProto, numpy_helper
from torch import Tensor

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.onnx.wire import damaged
from app.engine.ir.node import Bytes, Storage
from app.engine.ir.onnx_dtypes import STRING, element_bits, torch_dtype
from app.engine.ir.tensors import MAX_DIMENSIONS, MemoryBytes, StoredTensor, in_memory, storage_kind
from app.errors import UnsupportedContent

_MAX_EXTENT: Final = 1 << 62
_FIELDS: Final = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
# Which field holds the elements of a type where they are not in raw_data (onnx.proto, TensorProto).
_FIELD_OF: Final = {
    **dict.fromkeys((1, 14), "float_data"),
    **dict.fromkeys((2, 3, 4, 5, 6, 9, 10, 16, *range(17, 27)), "int32_data"),
    STRING: "string_data",
    7: "int64_data",
    **dict.fromkeys((11, 15), "double_data"),
    **dict.fromkeys((12, 13), "uint64_data"),
}


def check_tensor(tensor: TensorProto, data: FileBytes | None, limits: Limits) -> None:
    """MalformedFile where dims, type and data do not agree; UnsupportedContent for data that lies elsewhere.

    `data` is what was left out of the message.
    """
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise _elsewhere(tensor)
    if tensor.HasField("segment"):
        raise UnsupportedContent(
            f"tensor {tensor.name!r} is stored in segments",
            remedy="Save the model again with a current version of onnx.",
        )
    count = _elements(tensor)
    bits = element_bits(tensor.data_type)
    if bits is None and tensor.data_type != STRING:
        raise damaged(f"tensor {tensor.name!r} has element type {tensor.data_type}, which is not known")
    if bits is not None:
        check_limit(f"bytes of tensor {tensor.name!r}", -(-count * bits // 8), limits.max_tensor_bytes)
    _check_data(tensor, data, count, bits or 0)


def _elsewhere(tensor: TensorProto) -> UnsupportedContent:
    return UnsupportedContent(
        f"tensor {tensor.name!r} is external data: its bytes lie in another file, which is never opened",
        remedy="Upload the model and its data files in one archive: zip -0 -j model.zip model.onnx model.onnx.data. "
        "Or embed the weights, up to 2 GB: onnx.save(onnx.load(path), path, save_as_external_data=False).",
    )


def _elements(tensor: TensorProto) -> int:
    dims = tuple(tensor.dims)
    if len(dims) > MAX_DIMENSIONS or min(dims, default=0) < 0:
        raise damaged(f"tensor {tensor.name!r} has dims {dims[:8]}")
    if math.prod(size for size in dims if size) > _MAX_EXTENT:
        raise damaged(f"tensor {tensor.name!r} of dims {dims[:8]} is beyond 2^62 elements")
    return math.prod(dims)


def _check_data(tensor: TensorProto, data: FileBytes | None, count: int, bits: int) -> None:
    """All elements in one place: raw_data, or the one field for their type."""
    filled = [name for name in _FIELDS if len(getattr(tensor, name))]
    raw = data.nbytes if data is not None else len(tensor.raw_data)
    if (raw and filled) or len(filled) > 1:
        raise damaged(f"tensor {tensor.name!r} has its data in several fields")
    if raw or not filled:
        held, wanted = raw, -(-count * bits // 8)
        if tensor.data_type == STRING and (raw or count):
            raise damaged(f"tensor {tensor.name!r} of strings has no string_data")
    else:
        held, wanted = len(getattr(tensor, filled[0])), _entries(tensor.data_type, count)
        if filled[0] != _FIELD_OF[tensor.data_type]:
            raise damaged(f"tensor {tensor.name!r} of element type {tensor.data_type} has its data in {filled[0]}")
    if held != wanted:
        what = "bytes" if raw or not filled else "entries"
        raise damaged(f"tensor {tensor.name!r} of dims {tuple(tensor.dims)} needs {wanted:,} {what}, it has {held:,}")


def _entries(elem_type: int, count: int) -> int:
    """How many entries of its field a tensor takes; complex numbers take two, small ones share."""
    if elem_type in (14, 15):
        return 2 * count
    bits = element_bits(elem_type) or 8
    return count if bits >= 8 else -(-count * bits // 8)


def stored_tensor(name: str, tensor: TensorProto, data: FileBytes | None) -> StoredTensor | None:
    """The tensor where it lies, in the file or in the message; None for elements that torch can't hold."""
    dtype = torch_dtype(tensor.data_type)
    if dtype is None:
        return None
    source: Bytes = data if data is not None else MemoryBytes(_bytes(tensor))
    shape = tuple(tensor.dims)
    storage = Storage(storage_kind(dtype), name, "cpu", math.prod(shape), source)
    return StoredTensor(storage, 0, shape, _dense(shape), dtype, False)


def written_out(node: NodeProto) -> StoredTensor:
    """The tensor of a Constant whose numbers are attributes of their own."""
    attribute = node.attribute[0]
    match attribute.name:
        case "value_float":
            return in_memory(torch.tensor(attribute.f))
        case "value_floats":
            return in_memory(torch.tensor(list(attribute.floats)))
        case "value_int":
            return in_memory(torch.tensor(attribute.i))
    return in_memory(torch.tensor(list(attribute.ints), dtype=torch.int64))


def _bytes(tensor: TensorProto) -> Tensor:
    content = bytearray(tensor.raw_data or numpy_helper.to_array(tensor).tobytes())
    return torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()
