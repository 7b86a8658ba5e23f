"""A float32 ONNX model as the same model in float64."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_DTYPE_ATTRIBUTES = ("to", "dtype")  # not `stash_type`: the evaluator knows 1 alone, and computes in the dtype given


def widen(model: ModelProto) -> ModelProto:
    """Every float tensor, constant, cast and declared type becomes double; the rest stays."""
    wide = ModelProto()
    wide.CopyFrom(model)
    for graph in _graphs(wide.graph):
        _widen_graph(graph)
    return wide


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _widen_graph(graph: GraphProto) -> None:
    # The scales of a Resize are float by the operator's definition.
    kept = {node.input[2] for node in graph.node if node.op_type == "Resize" and len(node.input) > 2}
    for initializer in graph.initializer:
        if initializer.name not in kept:
            _widen_tensor(initializer)
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.elem_type in _FLOATS and value.name not in kept:
            tensor.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        if not kept.intersection(node.output):
            _widen_node(node)


def _widen_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            number = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = numpy_helper.from_array(np.asarray(number, np.float64))
            attribute.CopyFrom(helper.make_attribute("value", tensor))
        elif attribute.name in _DTYPE_ATTRIBUTES and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type not in _FLOATS:
        return
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), name))


def widen_file(source: Path, target: Path) -> None:
    onnx.save(widen(onnx.load(source)), target)
