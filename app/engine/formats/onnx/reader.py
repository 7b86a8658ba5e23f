"""Reading ONNX models: bounds first, then protobuf, then whether graph and tensors are sound."""

from collections.abc import Mapping

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from onnx import ModelProto

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx.bounds import check_bounds
from app.engine.formats.onnx.external import Files, attach, check_places
from app.engine.formats.onnx.functions import inlined
from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.order import put_in_order
from app.engine.formats.onnx.skeleton import Skeleton, read_skeleton
from app.engine.formats.onnx.structure import check_opset, check_structure, is_constant, is_written_out, main_tensors
from app.engine.formats.onnx.tensors import stored_tensor, written_out
from app.engine.formats.onnx.wire import damaged
from app.engine.ir.onnx_dtypes import torch_dtype


def read_onnx(file: MappedFile, limits: Limits) -> OnnxFile:
    """The model at hand. Large tensors stay in the file; nothing else is ever opened."""
    return read_model(FileBytes(file, 0, file.size), limits, None)


def read_model(content: FileBytes, limits: Limits, files: Files | None) -> OnnxFile:
    """The model in a range of a file; external data is read of `files`, and refused where there are none."""
    skeleton = read_skeleton(content, limits)
    check_bounds(skeleton.content, 0, len(skeleton.content), limits)
    parsed = _parsed(skeleton.content)
    data = _by_name(parsed, skeleton)
    check_opset(parsed)
    if files is not None:
        check_places(parsed, files, limits)
    model = inlined(parsed, limits)
    put_in_order(model)
    if files is not None:
        data |= attach(model, files, data, limits)
    check_structure(model, data, limits)
    _put_back(model, data, limits)
    stored = {name: stored_tensor(name, tensor, data.get(name)) for name, tensor in main_tensors(model.graph)}
    stored |= {node.output[0]: written_out(node) for node in model.graph.node if is_written_out(node)}
    return OnnxFile(model, {name: tensor for name, tensor in stored.items() if tensor is not None})


def _put_back(model: ModelProto, data: Mapping[str, FileBytes], limits: Limits) -> None:
    """Elements that torch can't hold (packed ones) go back into the model: nothing else would write them."""
    copied = 0
    for name, tensor in main_tensors(model.graph):
        if name in data and torch_dtype(tensor.data_type) is None:
            copied += data[name].nbytes
            check_limit("bytes of packed tensors of the ONNX model", copied, limits.max_graph_bytes)
            tensor.raw_data = data[name].read()


def _parsed(content: bytes) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise damaged("protobuf can't parse it") from error
    return model


def _by_name(model: ModelProto, skeleton: Skeleton) -> dict[str, FileBytes]:
    """The data left out, by the name of what it belongs to: positions change when functions are put in place."""
    data = {model.graph.initializer[position].name: bytes_ for position, bytes_ in skeleton.initializers.items()}
    for position, bytes_ in skeleton.constants.items():
        node = model.graph.node[position]
        if not is_constant(node) or node.output[0] in data:
            raise damaged(f"Constant {node.name!r} is not one tensor with a name of its own")
        data[node.output[0]] = bytes_
    if len(data) != len(skeleton.initializers) + len(skeleton.constants):
        raise damaged("two initializers have one name")
    return data
