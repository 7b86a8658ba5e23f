"""ONNX models made in the tests, and how others run them: onnxruntime without optimisation, onnx's reference."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from app.engine.forward.onnx import follow, ports
from app.engine.interpret.numeric import run
from app.engine.ir.tensors import in_memory

ELEM = {np.dtype(k): v for k, v in {"f4": 1, "u1": 2, "i1": 3, "i4": 6, "i8": 7, "?": 9, "f2": 10, "f8": 11}.items()}


def declared(name, array, dims=None):
    return helper.make_tensor_value_info(name, ELEM[array.dtype], array.shape if dims is None else dims)


def model_of(nodes, inputs, consts=None, outputs=None, opset=17, dims=None, ir_version=8, domains=None, **graph):
    """A checked model; `inputs` and `consts` are arrays by name, `dims` how inputs are declared."""
    if outputs is None:
        outputs = [name for name in nodes[-1].output if name]
    made = helper.make_graph(
        nodes,
        "graph",
        [declared(name, array, (dims or {}).get(name)) for name, array in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (consts or {}).items()],
        **graph,
    )
    opsets = [helper.make_opsetid(name, version) for name, version in {"": opset, **(domains or {})}.items()]
    model = helper.make_model(made, opset_imports=opsets, ir_version=ir_version)
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:
        if not output.type.HasField("tensor_type"):
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    if dims is None:
        del model.graph.value_info[:]
    return model


def tensors_of(model):
    """Initializers and Constants as the reader gives them."""
    named = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            named[node.output[0]] = node.attribute[0].t
    arrays = {name: numpy_helper.to_array(tensor).copy() for name, tensor in named.items()}
    return {name: in_memory(torch.from_numpy(array)) for name, array in arrays.items()}


def followed(model, inputs):
    return follow(model, tensors_of(model), {name: array.shape for name, array in inputs.items()})


def run_ours(model, inputs, dtype):
    """The outputs by name, from the graph that was followed."""
    program = followed(model, inputs)
    feeds = [torch.from_numpy(inputs[port.name]) for port in ports(model)]
    outputs, *_ = run(program.graph, feeds, dtype)
    return program, dict(zip(program.outputs, outputs, strict=True))


def run_onnxruntime(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def run_reference(model, inputs, widen=True):
    """onnx's reference implementation, on float64 copies of everything."""
    names = [output.name for output in model.graph.output]
    if not widen:
        return dict(zip(names, ReferenceEvaluator(model).run(None, inputs), strict=True))
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype in (np.float32, np.float16):
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float64), tensor.name))
    feeds = {k: v.astype(np.float64) if v.dtype in (np.float32, np.float16) else v for k, v in inputs.items()}
    with np.errstate(all="ignore"):
        return dict(zip(names, ReferenceEvaluator(wide).run(None, feeds), strict=True))
