"""What is left in a graph."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# onnxruntime's own kinds count as well.
_CONVOLUTIONS = ("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv", "NhwcConv")


@dataclass(frozen=True, slots=True)
class Counts:
    convolutions: int
    batch_norms: int
    parameters: int
    nodes: int
    standard: bool  # no operator outside of ONNX's own domains
    kinds: dict[str, int]


def count(model: ModelProto) -> Counts:
    """What is left, sub-graphs and functions included.

    A parameter is an element of a float initializer or constant, or a bound that onnxruntime's FusedConv has taken
    over from a Clip: there it lies in an attribute.
    """
    graphs = list(_graphs(model.graph))
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    kinds = Counter(f"{node.domain}.{node.op_type}" if _foreign(node) else node.op_type for node in nodes)
    names = Counter(node.op_type for node in nodes)
    return Counts(
        sum(names[kind] for kind in _CONVOLUTIONS),
        names["BatchNormalization"],
        sum(_elements(t) for graph in graphs for t in graph.initializer) + sum(_held(node) for node in nodes),
        len(nodes),
        not any(_foreign(node) for node in nodes),
        dict(sorted(kinds.items())),
    )


def _foreign(node: NodeProto) -> bool:
    return node.domain not in ("", "ai.onnx", "ai.onnx.ml")


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _elements(tensor: onnx.TensorProto) -> int:
    return prod(tensor.dims) if tensor.data_type in _FLOATS else 0


def _held(node: NodeProto) -> int:
    """How many numbers an operator holds in its attributes in the place of an input."""
    if _foreign(node):
        return sum(len(attribute.floats) for attribute in node.attribute if attribute.name == "activation_params")
    if node.op_type != "Constant":
        return 0
    attribute = node.attribute[0]
    return {"value": _elements(attribute.t), "value_float": 1, "value_floats": len(attribute.floats)}.get(
        attribute.name, 0
    )
