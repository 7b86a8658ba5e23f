"""Batch norms of tokens: rows are laid out, normed, and put back in their dimensions. Along the last one, that is a
factor and an offset."""

from functools import partial

import torch
from torch import Tensor

from app.engine.forward.vocabulary import expression
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value, readers

_RESHAPES = frozenset({"flatten", "view", "reshape", "reshape_as", "view_as", "_unsafe_view", "unflatten"})


def norms_along_rows(graph: Graph) -> Graph:
    """The graph with each batch norm of rows, and the reshapes around it, as a scale and a shift of the whole."""
    counts = readers(graph)
    single = {id(value): node for node in graph.nodes for value in node.inputs[:1] if counts[id(value)] == 1}
    nodes: list[Node] = []
    gone: set[int] = set()
    for node in graph.nodes:
        if id(node) in gone:
            continue
        rows, back = _rows(node, counts), single.get(id(node.output))
        if rows is None or back is None or not _restores(back, rows):
            nodes.append(node)
            continue
        gone.add(id(back))
        nodes.extend(_along_rows(node, rows.inputs[0], back.output))
    return ir.live(Graph(graph.inputs, tuple(nodes), graph.outputs))


def _rows(node: Node, counts: dict[int, int]) -> Node | None:
    """The reshape that makes rows of a value, for a batch norm with statistics and nobody else."""
    operation, maker = node.operation, node.inputs[0].node if node.inputs else None
    if not isinstance(operation, ir.BatchNorm) or operation.mean is None or operation.var is None or maker is None:
        return None
    if counts[id(maker.output)] != 1 or not _is_reshape(maker) or len(maker.output.shape) != 2:
        return None
    return maker if maker.inputs[0].shape[-1] == maker.output.shape[-1] else None


def _restores(back: Node, rows: Node) -> bool:
    return _is_reshape(back) and back.output.shape == rows.inputs[0].shape


def _is_reshape(node: Node) -> bool:
    return isinstance(node.operation, ir.Apply) and node.operation.name in _RESHAPES


def _along_rows(norm: Node, x: Value, output: Value) -> tuple[Node, Node]:
    operation = norm.operation
    assert isinstance(operation, ir.BatchNorm)
    last = len(x.shape) - 1
    between = Value(x.shape, None, x.dtype)
    scale = Node(ir.Scale(_factor(operation), last), (x,), between, norm.owner, norm.scope)
    shift = Node(ir.Shift(_offset(operation), last), (between,), output, norm.owner, norm.scope)
    between.node, output.node = scale, shift
    return scale, shift


def _factor(norm: ir.BatchNorm) -> Const:
    """gamma / sqrt(var + eps)"""
    assert norm.var is not None
    if norm.weight is None:
        return expression(partial(_inverse, eps=norm.eps), norm.var)
    return expression(partial(_scaled, eps=norm.eps), norm.var, norm.weight)


def _offset(norm: ir.BatchNorm) -> Const:
    """beta - mean * gamma / sqrt(var + eps)"""
    assert norm.mean is not None
    assert norm.var is not None
    if norm.weight is None or norm.bias is None:
        return expression(partial(_centred, eps=norm.eps), norm.mean, norm.var)
    return expression(partial(_moved, eps=norm.eps), norm.mean, norm.var, norm.weight, norm.bias)


def _inverse(var: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(var + eps)


def _scaled(var: Tensor, gamma: Tensor, eps: float) -> Tensor:
    return gamma * torch.rsqrt(var + eps)


def _centred(mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return -mean * torch.rsqrt(var + eps)


def _moved(mean: Tensor, var: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    return beta - mean * gamma * torch.rsqrt(var + eps)
