"""Models with everything that a writer must keep, as onnx.helper makes them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SEED = np.random.default_rng(3)


def f(*shape, low=-1.0, high=1.0):
    return _SEED.uniform(low, high, shape).astype(np.float32)


def value(name, *dims):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def make(nodes, inputs, outputs, weights, opset=17, ir_version=8, **more):
    """A model that passes onnx's full check."""
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    if ir_version < 4:
        inputs = [*inputs, *(value(name, *array.shape) for name, array in weights.items())]
    graph = helper.make_graph(nodes, "net", inputs, outputs, initializers, doc_string="a graph", **more)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, producer_name="tests"
    )
    helper.set_model_props(model, {"classes": "cat,dog"})
    onnx.checker.check_model(model, full_check=True)
    return model


def norm_weights(prefix, channels):
    return {f"{prefix}.{part}": f(channels, low=0.5, high=1.5) for part in ("weight", "bias", "mean", "var")}


def conv_norm(ir_version=8, opset=17):
    """relu(norm(conv(x))), then an identity and a second convolution with a large weight."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["conv_out"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization",
            ["conv_out", "bn.weight", "bn.bias", "bn.mean", "bn.var"],
            ["bn_out"],
            name="bn",
            epsilon=1e-3,
        ),
        helper.make_node("Relu", ["bn_out"], ["relu_out"], name="relu", doc_string="kept"),
        helper.make_node("Identity", ["relu_out"], ["same"], name="same"),
        helper.make_node("Conv", ["same", "head.weight", "head.bias"], ["y"], name="head"),
    ]
    weights = {"conv.weight": f(8, 3, 3, 3), **norm_weights("bn", 8)}
    weights |= {"head.weight": f(600, 8, 1, 1), "head.bias": f(600)}
    info = [value("conv_out", "n", 8, 8, 8), value("relu_out", "n", 8, 8, 8)]
    return make(
        nodes, [value("x", "n", 3, 8, 8)], [value("y", "n", 600, 8, 8)], weights, opset, ir_version, value_info=info
    )


def layer_norm_linear():
    """A LayerNormalization whose scale and shift can go into the MatMul behind it."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "ln.weight", "ln.bias"], ["ln_out"], name="ln"),
        helper.make_node("MatMul", ["ln_out", "fc.weight"], ["product"], name="matmul"),
        helper.make_node("Add", ["product", "fc.bias"], ["y"], name="add"),
    ]
    weights = {"ln.weight": f(6), "ln.bias": f(6), "fc.weight": f(6, 4), "fc.bias": f(4)}
    return make(nodes, [value("x", "n", 5, 6)], [value("y", "n", 5, 4)], weights)
