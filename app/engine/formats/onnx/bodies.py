"""Graphs within operators (If, Loop, Scan) as models of their own, and back into the model that they are of.

What such a graph reads of the graph around it is an input of that model, or an initializer where it is a constant that
nobody else reads.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from app.engine.formats.onnx.naming import all_names
from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.serial import Initializer
from app.engine.formats.onnx.structure import is_written_out, main_tensors
from app.engine.formats.onnx.tensors import stored_tensor, written_out
from app.engine.formats.onnx.writer import rebuilt
from app.engine.forward.onnx import DEFAULTS_SINCE, Dims, first_output, free, inner_graphs
from app.engine.ir.graph import Const, Graph, Value
from app.engine.ir.onnx_dtypes import elem_type
from app.engine.ir.program import Body, Inner, Program
from app.engine.ir.tensors import StoredTensor

_CALLED: Final = ("If", "Loop", "Scan")
_COUNTERS: Final = (torch.int64, torch.bool)  # the first two inputs of a Loop's graph


@dataclass(frozen=True, slots=True)
class _Port:
    """An input of the model that a body becomes."""

    name: str
    known: Value | Const
    dims: Dims
    cut: int | None = None  # the dimension along which a Scan takes it apart


def bodies(file: OnnxFile, program: Program) -> Iterator[Body]:
    """The graphs within operators of the main graph, as far as all that they read was followed."""
    if file.model.ir_version < DEFAULTS_SINCE:
        return
    nodes = {first_output(node): node for node in file.model.graph.node}
    readers = _readers(file.model.graph)
    for inner in program.inner:
        node = nodes[inner.owner]
        graph = list(inner_graphs(node))[inner.position]
        formal = _formal(node, graph, inner)
        if formal is None or node.op_type not in _CALLED or node.domain:
            continue
        own = {name: known for name, known in inner.captured.items() if _is_own(name, known, file, readers)}
        others = [
            _Port(name, known, program.dims.get(name, (None,) * len(known.shape)))
            for name, known in inner.captured.items()
            if name not in own
        ]
        yield _body(file, inner, graph, [*formal, *others], own)


def _readers(graph: GraphProto) -> Counter[str]:
    """How many operators, graphs within and outputs read each name."""
    found: Counter[str] = Counter(value.name for value in graph.output)
    for node in graph.node:
        found.update(set(node.input))
        for inner in inner_graphs(node):
            found.update(set(free(inner)))
    return found


def _is_own(name: str, known: Value | Const, file: OnnxFile, readers: Counter[str]) -> bool:
    stored = isinstance(known, Const) and not known.varies and known.compute is None and known.literal is None
    return stored and name in file.tensors and readers[name] == 1


def _formal(node: NodeProto, graph: GraphProto, inner: Inner) -> list[_Port] | None:
    """The graph's own inputs, by what the operator is given; None where that is not known."""
    names = [value.name for value in graph.input]
    if set(names) & {tensor.name for tensor in graph.initializer}:
        return None
    scanned = next((one.i for one in node.attribute if one.name == "num_scan_inputs"), 0)
    if any(one.name == "scan_input_axes" and any(one.ints) for one in node.attribute):
        return None
    given = [None, None, *inner.inputs[2:]] if node.op_type == "Loop" else list(inner.inputs)
    if node.op_type == "If":
        return [] if not names else None
    ports = []
    for position, (name, known) in enumerate(zip(names, given, strict=False)):
        cut = 0 if node.op_type == "Scan" and position >= len(given) - scanned else None
        counter = node.op_type == "Loop" and position < 2
        if counter:
            known = Value((), None, _COUNTERS[position])
        if known is None or (cut is not None and not known.shape):
            return None
        rank = len(known.shape) - (cut is not None)
        ports.append(_Port(name, known, (None,) * rank, cut))
    return ports if len(ports) == len(names) else None


def _body(
    file: OnnxFile, inner: Inner, graph: GraphProto, ports: Sequence[_Port], own: Mapping[str, Value | Const]
) -> Body:
    model = ModelProto()
    model.CopyFrom(file.model)
    model.ClearField("graph")
    model.graph.CopyFrom(graph)
    model.graph.ClearField("input")
    shapes = {}
    for port in ports:
        declared = model.graph.input.add(name=port.name)
        declared.type.tensor_type.elem_type = elem_type(_dtype(port.known))
        declared.type.tensor_type.shape.SetInParent()
        for size in port.dims:
            dim = declared.type.tensor_type.shape.dim.add()
            if size is not None:
                dim.dim_value = size
        shapes[port.name] = port.known.shape if port.cut is None else port.known.shape[1:]
    around = [tensor for tensor in file.model.graph.initializer if tensor.name in own]
    model.graph.initializer.extend(around)
    tensors = _tensors(model.graph) | {name: file.tensors[name] for name in own}
    reserved = all_names(file.model) - {tensor.name for tensor in graph.initializer}
    path = f"{inner.owner}/{inner.position}"
    return Body(path, OnnxFile(model, tensors, reserved=frozenset(reserved)), shapes, frozenset(own))


def _dtype(known: Value | Const) -> torch.dtype:
    return known.dtype if isinstance(known, Value) else known.stored_dtype


def _tensors(graph: GraphProto) -> dict[str, StoredTensor]:
    stored = {name: stored_tensor(name, tensor, None) for name, tensor in main_tensors(graph)}
    stored |= {node.output[0]: written_out(node) for node in graph.node if is_written_out(node)}
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def with_bodies(file: OnnxFile, rewritten: Sequence[tuple[Body, Program, Graph]]) -> OnnxFile:
    """The file with other graphs in the place of some bodies; all that is around them is as it was."""
    model = ModelProto()
    model.CopyFrom(file.model)
    nodes = {first_output(node): node for node in model.graph.node}
    for body, program, graph in rewritten:
        owner, _, position = body.path.rpartition("/")
        target = list(inner_graphs(nodes[owner]))[int(position)]
        _replace(target, *rebuilt(body.file, program, graph), body.own)
    return replace(file, model=model)


def restored(written: OnnxFile, original: OnnxFile, changed: Sequence[Body]) -> OnnxFile:
    """A file that was written, with the bodies that it had before: what is around them can be compared alone."""
    model = ModelProto()
    model.CopyFrom(written.model)
    before, after = ({first_output(node): node for node in one.graph.node} for one in (original.model, model))
    for body in changed:
        owner, _, position = body.path.rpartition("/")
        target, source = (list(inner_graphs(nodes[owner]))[int(position)] for nodes in (after, before))
        target.CopyFrom(source)
    held = {tensor.name for tensor in model.graph.initializer}
    own = {name for body in changed for name in body.own} - held
    model.graph.initializer.extend(tensor for tensor in original.model.graph.initializer if tensor.name in own)
    tensors = {**written.tensors, **{name: original.tensors[name] for name in own}}
    return replace(written, model=model, tensors=tensors)


def _replace(target: GraphProto, model: ModelProto, initializers: Sequence[Initializer], own: frozenset[str]) -> None:
    """What the graph around holds is not written a second time."""
    for field in ("node", "initializer", "value_info"):
        target.ClearField(field)
    target.node.extend(model.graph.node)
    target.value_info.extend(model.graph.value_info)
    target.initializer.extend(_whole(one) for one in initializers if one.head.name not in own)


def _whole(one: Initializer) -> TensorProto:
    tensor = TensorProto()
    tensor.CopyFrom(one.head)
    if one.data is not None:
        tensor.raw_data = b"".join(bytes(chunk) for chunk in one.chunks())
    return tensor
