"""Writing ONNX models: the file's own operators as they stand, new ones in the place of what was fused."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto

from app.engine.formats.onnx.defaults import folded_defaults
from app.engine.formats.onnx.naming import Names, all_names
from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.order import Step, needed, ordered
from app.engine.formats.onnx.rewrite import steps_of
from app.engine.formats.onnx.serial import Initializer, write_model
from app.engine.formats.onnx.simplify import arrange, bypass, fold_constants, share, unify
from app.engine.formats.onnx.structure import is_constant
from app.engine.formats.onnx.weights import Namer
from app.engine.ir.graph import Graph
from app.engine.ir.onnx_dtypes import elem_type
from app.engine.ir.program import Program
from app.engine.ir.tensors import StoredTensor

_INITIALIZERS_ARE_INPUTS_BELOW = 4  # of ir_version


def write_onnx(file: OnnxFile, program: Program, graph: Graph, target: Path) -> None:
    """`graph`, a rewritten form of `program.graph`, in the model that `file` is; the same bytes for the same graph.

    `target` must not be the file that was read: its tensors are still in there.
    """
    write_model(*rebuilt(file, program, graph), target)


def rebuilt(file: OnnxFile, program: Program, graph: Graph) -> tuple[ModelProto, list[Initializer]]:
    """The model with the operators of `graph`, and the initializers that are to stand in it."""
    model = ModelProto()
    model.CopyFrom(file.model)
    outputs = frozenset(value.name for value in model.graph.output)
    steps = needed(bypass(steps_of(model, program, graph, file.reserved), program.aliases, outputs), outputs)
    folded = {}
    if model.ir_version >= _INITIALIZERS_ARE_INPUTS_BELOW:
        found = fold_constants(steps, program, model, file.tensors)
        steps, folded = share(ordered(found.steps), outputs), found.tensors
        fixed = {name: stored for name, stored in file.tensors.items() if name not in program.defaults}
        fresh = Names(_taken(model, program, steps) | file.reserved).fresh
        steps = arrange(steps, {**fixed, **folded}, program.dims, outputs, fresh)
    stored = {
        tensor.name: file.tensors[tensor.name] for tensor in model.graph.initializer if tensor.name in file.tensors
    }
    namer = Namer(stored, Names(_taken(model, program, steps) | file.reserved))
    namer.resolve(steps)
    made = folded | namer.made
    declared = {value.name for value in model.graph.input} - folded_defaults(model, program, steps)
    if model.ir_version >= _INITIALIZERS_ARE_INPUTS_BELOW:
        unify(steps, stored | made, declared | outputs)
        steps = share(ordered(steps), outputs)
    old = _old(file, (_read(model, steps) - set(made)) | set(program.defaults))
    _fill(model, file, ordered(steps), {one.head.name for one in old}, declared)
    initializers = [*old, *_new(made, _read(model, steps))]
    if model.ir_version < _INITIALIZERS_ARE_INPUTS_BELOW:
        _declare(model, initializers)
    return model, initializers


def _read(model: ModelProto, steps: Iterable[Step]) -> set[str]:
    return {name for step in steps for name in step.reads()} | {value.name for value in model.graph.output}


def _taken(model: ModelProto, program: Program, steps: Iterable[Step]) -> set[str]:
    """Names that a new tensor may not have: those still in use, and those of the file's own values."""
    left = {name for step in steps for name in step.outputs} | _read(model, steps) | set(program.defaults)
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {node.output[0] for node in model.graph.node if is_constant(node)}
    return left | (all_names(model) - weights)


def _old(file: OnnxFile, read: set[str]) -> list[Initializer]:
    """The file's own initializers that are still read."""
    kept = (tensor for tensor in file.model.graph.initializer if tensor.name in read)
    return [Initializer(tensor, _left_out(tensor, tensor.name, file)) for tensor in kept]


def _left_out(tensor: TensorProto, name: str, file: OnnxFile) -> StoredTensor | None:
    """The data of a tensor whose message holds none."""
    stored = file.tensors.get(name)
    if stored is None or stored.nbytes == 0 or tensor.ByteSize() > stored.nbytes:
        return None
    filled = tensor.raw_data or tensor.float_data or tensor.double_data or tensor.int32_data or tensor.int64_data
    return None if filled or tensor.uint64_data else stored


def _new(tensors: Mapping[str, StoredTensor], read: set[str]) -> list[Initializer]:
    return [
        Initializer(TensorProto(name=name, data_type=elem_type(stored.dtype), dims=stored.shape), stored)
        for name, stored in tensors.items()
        if name in read
    ]


def _fill(model: ModelProto, file: OnnxFile, steps: Iterable[Step], old: set[str], declared: set[str]) -> None:
    """The graph's operators, and of what it says of values and tensors only what is about those that are left."""
    graph, was_initializer = model.graph, {tensor.name for tensor in model.graph.initializer}
    nodes = [_node(step, file) for step in steps]
    given = {name for node in nodes for name in node.output}
    inputs = [
        value
        for value in graph.input
        if value.name not in was_initializer or (value.name in old and value.name in declared)
    ]
    known = [value for value in graph.value_info if value.name in given]
    notes = [note for note in graph.quantization_annotation if note.tensor_name in given | old]
    for field, kept in (("node", nodes), ("input", inputs), ("value_info", known), ("quantization_annotation", notes)):
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)


def _declare(model: ModelProto, initializers: Iterable[Initializer]) -> None:
    """Before ir_version 4 every initializer is an input, too."""
    declared = {value.name for value in model.graph.input}
    for one in initializers:
        if one.head.name not in declared:
            value = model.graph.input.add(name=one.head.name)
            value.type.tensor_type.elem_type = one.head.data_type
            for size in one.head.dims:
                value.type.tensor_type.shape.dim.add().dim_value = size


def _node(step: Step, file: OnnxFile) -> NodeProto:
    """The operator as the file has it, with the inputs and outputs that it has now."""
    node = NodeProto()
    node.CopyFrom(step.node)
    node.ClearField("input")
    node.ClearField("output")
    node.input.extend(name for name in step.inputs if isinstance(name, str))
    node.output.extend(step.outputs)
    if is_constant(step.node):
        tensor, name = node.attribute[0].t, step.node.output[0]
        stored = _left_out(tensor, name, file)
        if stored is not None:
            tensor.raw_data = stored.read().contiguous().numpy().tobytes()
    return node
