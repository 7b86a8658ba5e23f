"""Is the graph a graph? Each name is given once, before it is read; every tensor holds what it declares."""

from collections.abc import Iterator
from typing import Final

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, defs

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.onnx.tensors import check_tensor
from app.engine.formats.onnx.wire import damaged
from app.errors import UnsupportedContent

OLDEST_OPSET: Final = 11
WRITTEN_OUT: Final = frozenset({"value_float", "value_floats", "value_int", "value_ints"})


def check_opset(model: ModelProto) -> None:
    """UnsupportedContent for operator sets that are not read here."""
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        said = f"opset {versions[0]}" if versions else "no opset of the domain ai.onnx"
        raise UnsupportedContent(
            f"the ONNX model uses {said}; opsets {OLDEST_OPSET} to {newest} are read",
            remedy=f"Export it with opset_version={OLDEST_OPSET} or later, or convert it with onnx.version_converter.",
        )


def check_structure(model: ModelProto, data: dict[str, FileBytes], limits: Limits) -> None:
    """MalformedFile, TooLarge or UnsupportedContent where the model can't be followed safely."""
    if model.training_info:
        raise UnsupportedContent(
            "the ONNX model holds a training graph",
            remedy="Export the model for inference: training_info must be empty.",
        )
    for name, tensor in main_tensors(model.graph):
        check_tensor(tensor, data.get(name), limits)
    for node in model.graph.node:
        if not is_constant(node):
            _check_attributes(node, limits)
    for tensor in sparse_tensors(model.graph):
        check_tensor(tensor, None, limits)
    _check_names(model.graph, ())


def main_tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Initializers and Constants of the main graph, by the names of the values that they give."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if is_constant(node):
            yield node.output[0], node.attribute[0].t


def is_constant(node: NodeProto) -> bool:
    """True for a Constant that holds a tensor."""
    held = len(node.attribute) == 1 and node.attribute[0].name == "value" and node.attribute[0].HasField("t")
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1 and held


def is_written_out(node: NodeProto) -> bool:
    """True for a Constant of numbers that are attributes of their own (`value_float`, `value_ints` ...)."""
    named = len(node.attribute) == 1 and node.attribute[0].name in WRITTEN_OUT
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1 and named


def _check_attributes(node: NodeProto, limits: Limits) -> None:
    """Tensors in attributes and in the graphs within."""
    for attribute in node.attribute:
        for tensor in attribute_tensors(attribute):
            check_tensor(tensor, None, limits)
        for graph in (attribute.g, *attribute.graphs):
            for tensor in (*graph.initializer, *sparse_tensors(graph)):
                check_tensor(tensor, None, limits)
            for inner in graph.node:
                _check_attributes(inner, limits)


def attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    """The tensors of an attribute itself, not those of graphs in it."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        if sparse.dims:
            yield from (sparse.values, sparse.indices)


def sparse_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """The values and indices of sparse initializers."""
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _check_names(graph: GraphProto, around: tuple[set[str], ...]) -> None:
    """Each name is given once, in this graph and those around it, and before it is read."""
    initial = [tensor.name for tensor in graph.initializer]
    initial += [sparse.values.name for sparse in graph.sparse_initializer]
    for what, names in (("initializers", initial), ("inputs", [value.name for value in graph.input])):
        if len(set(names)) != len(names) or "" in names:
            raise damaged(f"two {what} have one name, or one has none")
    scopes = ({*initial, *(value.name for value in graph.input)}, *around)
    for node in graph.node:
        _check_node(node, scopes)
    for value in graph.output:
        if not _given(value.name, scopes):
            raise damaged(f"nothing gives the output {value.name!r}")


def _given(name: str, scopes: tuple[set[str], ...]) -> bool:
    return any(name in scope for scope in scopes)


def _check_node(node: NodeProto, scopes: tuple[set[str], ...]) -> None:
    for name in node.input:
        if name and not _given(name, scopes):
            raise damaged(f"operator {node.op_type} {node.name!r} reads {name!r} before anything gives it")
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            _check_names(graph, scopes)
    for name in node.output:
        if name and _given(name, scopes):
            raise damaged(f"operator {node.op_type} {node.name!r} gives {name!r}, which is given already")
        if name:
            scopes[0].add(name)
