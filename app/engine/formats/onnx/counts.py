"""What an ONNX model counts: operators, convolutions, batch norms, parameters."""

from collections import Counter
from collections.abc import Iterator

import torch
from onnx import GraphProto, NodeProto

from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.structure import is_constant, main_tensors
from app.engine.formats.onnx.tensors import stored_tensor
from app.engine.forward.onnx import first_output, free, inner_graphs
from app.engine.fuse.census import Census
from app.engine.ir.tensors import StoredTensor
from app.engine.layers import Listed

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def count(file: OnnxFile) -> Census:
    """Counts of the graph and of those within its operators. A Constant is data, not an operator."""
    nodes = [node for node in _all_nodes(file.model.graph) if not is_constant(node)]
    kinds = Counter(node.op_type for node in nodes if node.domain in ("", "ai.onnx"))
    dtypes: Counter[torch.dtype] = Counter()
    tensors = [*file.tensors.values(), *_inner_tensors(file.model.graph)]
    for tensor in tensors:
        if tensor.dtype.is_floating_point:
            dtypes[tensor.dtype] += tensor.numel
    return Census(
        parameters=sum(dtypes.values()),
        batch_norms=kinds["BatchNormalization"],
        convolutions=sum(kinds[kind] for kind in _CONVOLUTIONS),
        dtype=max(dtypes, key=lambda dtype: dtypes[dtype]) if dtypes else torch.float32,
        operators=len(nodes),
        bytes=sum(tensor.nbytes for tensor in tensors),
    )


def listed(file: OnnxFile) -> tuple[Listed, ...]:
    """Every operator in the order of the file, those of graphs within it behind the one that they are of."""
    held = {name: tensor.numel for name, tensor in file.tensors.items() if tensor.dtype.is_floating_point}
    return tuple(_listed(file.model.graph, "", held))


def _listed(graph: GraphProto, prefix: str, held: dict[str, int]) -> Iterator[Listed]:
    """Numbers count at the first operator that reads them."""
    for node in graph.node:
        if is_constant(node):
            continue
        name = prefix + first_output(node)
        yield Listed(name, node.op_type, sum(held.pop(read, 0) for read in node.input))
        for position, inner in enumerate(inner_graphs(node)):
            stored = ((name, stored_tensor(name, tensor, None)) for name, tensor in main_tensors(inner))
            own = {name: one.numel for name, one in stored if one is not None and one.dtype.is_floating_point}
            around = {name: held.pop(name, 0) for name in free(inner) if name in held}
            yield from _listed(inner, f"{name}/{position}/", {**around, **own})


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from _all_nodes(inner)


def _inner_tensors(graph: GraphProto) -> Iterator[StoredTensor]:
    """What the graphs within operators hold."""
    for node in graph.node:
        for inner in inner_graphs(node):
            stored = (stored_tensor(name, tensor, None) for name, tensor in main_tensors(inner))
            yield from (tensor for tensor in stored if tensor is not None)
            yield from _inner_tensors(inner)
