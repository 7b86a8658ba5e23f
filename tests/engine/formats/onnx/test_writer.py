"""What is written is an ONNX model that computes the same, keeps what was not touched, and is the same each time."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from app.engine.formats.onnx import operators_of
from app.engine.formats.onnx.emit import emit
from app.engine.interpret.numeric import run
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value
from tests.engine.formats.onnx.nets import conv_norm, f, layer_norm_linear, make, value


def literal(array):
    tensor = torch.as_tensor(array)
    return Const((), (), tuple(tensor.shape), None, tensor)


def hinted(array, *paths):
    return replace(literal(array), paths=paths)


def ops(model):
    return [node.op_type for node in model.graph.node]


def weights(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def replaced(program, gone, operation):
    """The graph with consecutive nodes replaced by one operation."""
    nodes = list(program.graph.nodes)
    first, last = nodes[gone[0]], nodes[gone[-1]]
    fused = Node(operation, first.inputs, last.output, last.owner, None)
    left = [node for index, node in enumerate(nodes) if index not in gone]
    left.insert(gone[0], fused)
    return Graph(program.graph.inputs, tuple(left), program.graph.outputs)


def assert_same(one, other, tolerance=1e-5):
    assert set(one) == set(other)
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_an_unchanged_graph_gives_the_same_model_without_what_changes_nothing(rewrite, outputs, ir_version):
    model = conv_norm(ir_version)

    written = rewrite(model)

    assert_same(outputs(model), outputs(written), 0)
    assert ops(written) == ["Conv", "BatchNormalization", "Relu", "Conv"]
    assert written.graph.node[3].input[0] == "relu_out"
    kept = [node for node in model.graph.node if node.op_type in ("BatchNormalization", "Relu")]
    assert list(written.graph.node[1:3]) == kept
    for field in ("input", "output", "doc_string", "name", "value_info"):
        assert getattr(written.graph, field) == getattr(model.graph, field)
    for field in ("ir_version", "producer_name", "opset_import", "metadata_props"):
        assert getattr(written, field) == getattr(model, field)
    assert {k: v.tolist() for k, v in weights(written).items()} == {k: v.tolist() for k, v in weights(model).items()}


def test_the_same_graph_gives_the_same_bytes(rewrite, tmp_path):
    rewrite(conv := conv_norm())
    first = (tmp_path / "target.onnx").read_bytes()

    rewrite(conv)

    assert (tmp_path / "target.onnx").read_bytes() == first


def fused_conv(model):
    """conv and norm of `conv_norm`, folded by hand."""
    w = weights(model)
    scale = w["bn.weight"] / np.sqrt(w["bn.var"] + 1e-3)
    return w["conv.weight"] * scale.reshape(-1, 1, 1, 1), w["bn.bias"] - w["bn.mean"] * scale


@pytest.mark.parametrize("ir_version", [3, 8])
def test_a_fused_convolution_takes_names_and_place_of_what_it_replaces(rewrite, outputs, ir_version):
    model = conv_norm(ir_version)
    weight, bias = fused_conv(model)
    conv = ir.Conv(hinted(weight, "conv.weight"), hinted(bias, "bn.bias"), (1, 1), ((1, 1), (1, 1)), (1, 1))

    written = rewrite(model, lambda program: replaced(program, [0, 1], conv))

    assert_same(outputs(model), outputs(written))
    assert ops(written) == ["Conv", "Relu", "Conv"]
    fused = written.graph.node[0]
    assert (fused.name, list(fused.input), list(fused.output)) == ("bn", ["x", "conv.weight", "bn.bias"], ["bn_out"])
    assert set(weights(written)) == {"conv.weight", "bn.bias", "head.weight", "head.bias"}
    assert [info.name for info in written.graph.value_info] == ["relu_out"]
    assert written.graph.input[0].name == "x"
    assert len(written.graph.input) == (1 if ir_version == 8 else 5)


def test_a_name_that_is_still_in_use_is_not_given_again(rewrite):
    model = conv_norm()
    weight, bias = fused_conv(model)
    conv = ir.Conv(hinted(weight, "head.weight"), hinted(bias, "head.weight"), (1, 1), ((1, 1), (1, 1)), (1, 1))

    written = rewrite(model, lambda program: replaced(program, [0, 1], conv))

    assert list(written.graph.node[0].input) == ["x", "head.weight_1", "head.weight_2"]
    assert weights(written)["head.weight"].shape == (600, 8, 1, 1)


def test_a_weight_that_stays_as_it_is_is_not_written_twice(rewrite):
    def change(program):
        conv = program.graph.nodes[-1].operation
        return replaced(program, [3], replace(conv, bias=hinted(np.zeros(600, np.float32), "head.bias")))

    written = rewrite(conv_norm(), change)

    assert list(written.graph.node[-1].input) == ["relu_out", "head.weight", "head.bias"]
    assert not weights(written)["head.bias"].any()


def test_a_layer_norm_without_scale_and_shift_gets_ones(rewrite, outputs):
    model = layer_norm_linear()
    w = weights(model)
    weight = (w["ln.weight"][:, None] * w["fc.weight"]).T
    bias = w["ln.bias"] @ w["fc.weight"] + w["fc.bias"]
    linear = ir.Linear(hinted(weight, "fc.weight"), hinted(bias, "fc.bias"))

    written = rewrite(model, lambda program: replaced(program, [1, 2, 3, 4], linear))

    assert_same(outputs(model), outputs(written))
    assert ops(written) == ["LayerNormalization", "MatMul", "Add"]
    assert list(written.graph.node[0].input) == ["x", "ones_6"]
    assert weights(written)["fc.weight"].shape == (6, 4)


def test_a_layer_norm_without_its_shift_keeps_its_scale(rewrite, outputs):
    model = layer_norm_linear()
    w = weights(model)
    bias = w["ln.bias"] @ w["fc.weight"] + w["fc.bias"]
    linear = ir.Linear(hinted(w["fc.weight"].T.copy(), "fc.weight"), hinted(bias, "fc.bias"))

    written = rewrite(model, lambda program: replaced(program, [2, 3, 4], linear))

    assert_same(outputs(model), outputs(written))
    assert list(written.graph.node[0].input) == ["x", "ln.weight"]


X4, X3, X2 = (2, 4, 8, 6), (2, 5, 6), (3, 6)
SIDES = ((1, 0), (2, 1))
CONV = ir.Conv(literal(f(6, 2, 3, 3)), literal(f(6)), (2, 1), SIDES, (1, 2), 2)
NEW = {
    "conv": (CONV, X4, ["Conv"]),
    "conv without bias": (replace(CONV, bias=None), X4, ["Conv"]),
    "reflected": (replace(CONV, padding_mode="reflect"), X4, ["Pad", "Conv"]),
    "replicated": (replace(CONV, padding_mode="replicate"), X4, ["Pad", "Conv"]),
    "transposed": (
        ir.Conv(
            literal(f(4, 3, 3, 3)),
            literal(f(6)),
            (2, 3),
            ((1, 1), (0, 0)),
            (1, 1),
            2,
            transposed=True,
            output_padding=(1, 2),
        ),
        X4,
        ["ConvTranspose"],
    ),
    "conv of one dimension": (ir.Conv(literal(f(4, 5, 3)), None, (1,), ((1, 1),), (1,)), X3, ["Conv"]),
    "gemm": (ir.Linear(literal(f(3, 6)), literal(f(3))), X2, ["Gemm"]),
    "matmul": (ir.Linear(literal(f(3, 6)), None), X2, ["MatMul"]),
    "matmul and add": (ir.Linear(literal(f(3, 6)), literal(f(3))), X3, ["MatMul", "Add"]),
    "scale": (ir.Scale(literal(f(4))), X4, ["Mul"]),
    "scale of all": (ir.Scale(literal(f(1)), 2), X4, ["Mul"]),
    "shift": (ir.Shift(literal(f(6, 1, 1)), 3), X4, ["Add"]),
    "norm": (
        ir.BatchNorm(literal(f(4)), literal(f(4, low=0.5)), literal(f(4)), literal(f(4)), 1e-3),
        X4,
        ["BatchNormalization"],
    ),
    "norm without affine": (
        ir.BatchNorm(literal(f(4)), literal(f(4, low=0.5)), None, None, 1e-5),
        X4,
        ["BatchNormalization"],
    ),
    "pad": (ir.Pad(SIDES), X4, ["Pad"]),
    "pool": (ir.AvgPool((3, 2), (2, 1), (1, 0)), X4, ["AveragePool"]),
    "pool without pad": (ir.AvgPool((3, 3), (2, 2), (1, 1), False, False), X4, ["AveragePool"]),
    "first channels": (ir.Take((1, 2)), X4, ["Slice"]),
    "some channels": (ir.Take((3, 0, 0)), X4, ["Gather"]),
    "last axis": (ir.Take((3, 0), 3), X4, ["Gather"]),
}


@pytest.mark.parametrize("opset", [11, 13, 18, 24])
@pytest.mark.parametrize("kind", NEW)
def test_a_new_operation_is_written_as_operators_that_compute_it(rewrite, outputs, kind, opset):
    operation, shape, expected = NEW[kind]
    node = Node(operation, (Value(shape),), Value(()), "", None)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ours = run(Graph(node.inputs, (node,), node.output), [torch.from_numpy(x)], torch.float32)
    relus = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"], name="neg")]
    model = make(relus, [value("x", *shape)], [value("z", *ours.shape)], {}, opset) if ours.shape == shape else None
    model = model or unchecked(relus, shape, ours.shape, opset)

    def change(program):
        new = Node(operation, program.graph.inputs, program.graph.outputs[0][0], "z", None)
        return Graph(program.graph.inputs, (new,), program.graph.outputs)

    written = rewrite(model, change)

    assert ops(written) == expected
    assert operators_of(operation, len(shape)) == len(expected)
    assert written.graph.node[-1].name == "neg"
    assert_same({"z": ours.numpy()}, outputs(written), 2e-5)


def unchecked(nodes, shape, output, opset):
    """As `make`, for a model whose output has another shape than it will have."""
    graph = helper.make_graph(nodes, "net", [value("x", *shape)], [value("z", *output)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_sums_and_concatenations_are_written(rewrite, outputs):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Abs", ["x"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["c"]),
        helper.make_node("Mul", ["a", "c"], ["y"]),
    ]
    model = make(nodes, [value("x", 2, 4)], [value("y", 2, 4)], {})

    def change(program):
        a, b, _, add, mul = program.graph.nodes
        new = Node(ir.Add(), (b.output, a.output), add.output, "c", None)
        return Graph(program.graph.inputs, (a, b, new, mul), program.graph.outputs)

    written = rewrite(model, change)

    assert ops(written) == ["Relu", "Abs", "Add", "Mul"]
    assert list(written.graph.node[2].input) == ["b", "a"]
    assert "y" in outputs(written)


def test_operations_without_an_operator_have_no_price():
    norm = ir.BatchNorm(None, None, None, None, 1e-5)
    assert operators_of(norm, 4) is None
    assert operators_of(ir.Apply("relu", torch.relu), 4) is None
    assert operators_of(replace(CONV, padding_mode="circular"), 4) is None
    assert operators_of(ir.Add(), 4) == operators_of(ir.Concat(1), 4) == 1
    with pytest.raises(AssertionError, match="Apply"):
        emit(Node(ir.Apply("relu", torch.relu), (Value((1,)),), Value((1,)), "", None), lambda v: "x", lambda v: v)


def test_an_identity_before_an_output_leaves_its_name_to_what_stands_before(rewrite, outputs):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Dropout", ["b"], ["y"]),
        helper.make_node("Neg", ["b"], ["z"]),
    ]
    model = make(nodes, [value("x", 2, 4)], [value("y", 2, 4), value("z", 2, 4)], {})

    written = rewrite(model)

    assert ops(written) == ["Relu", "Neg"]
    assert_same(outputs(model), outputs(written), 0)


def test_an_identity_between_input_and_output_stays(rewrite, outputs):
    model = make([helper.make_node("Identity", ["x"], ["y"])], [value("x", 2)], [value("y", 2)], {})

    assert ops(rewrite(model)) == ["Identity"]


def test_two_outputs_of_one_value_stay_two(rewrite, outputs):
    nodes = [helper.make_node("Relu", ["x"], ["a"])]
    nodes += [helper.make_node("Identity", ["a"], [name]) for name in ("y", "z")]
    model = make(nodes, [value("x", 2)], [value("y", 2), value("z", 2)], {})

    written = rewrite(model)

    assert sorted(ops(written)) == ["Identity", "Relu"]
    assert_same(outputs(model), outputs(written), 0)


def test_constant_arithmetic_becomes_one_tensor(rewrite, outputs):
    nodes = [
        helper.make_node("Constant", [], ["eps"], value=numpy_helper.from_array(np.float32(1e-5).reshape(()))),
        helper.make_node("Add", ["var", "eps"], ["sum"]),
        helper.make_node("Sqrt", ["sum"], ["std"]),
        helper.make_node("Div", ["x", "std"], ["y"]),
    ]
    model = make(nodes, [value("x", 2, 4)], [value("y", 2, 4)], {"var": f(4, low=0.5)})

    written = rewrite(model)

    assert ops(written) == ["Div"]
    assert set(weights(written)) == {"std"}
    assert_same(outputs(model), outputs(written), 1e-6)


def test_a_constant_that_would_be_larger_than_its_parts_stays_computed(rewrite, outputs):
    shape = numpy_helper.from_array(np.array([400, 400]), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        helper.make_node("Add", ["x", "ones"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "net", [value("x", 400, 400)], [value("y", 400, 400)], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    assert ops(rewrite(model)) == ["ConstantOfShape", "Add"]


def test_sizes_that_may_differ_are_not_folded(rewrite, outputs):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Sub", ["x", "zeros"], ["y"]),
    ]
    model = make(nodes, [value("x", "n", 4)], [value("y", "n", 4)], {})

    assert ops(rewrite(model)) == ["Shape", "ConstantOfShape", "Sub"]
    fixed = make(nodes, [value("x", 2, 4)], [value("y", 2, 4)], {})
    assert ops(rewrite(fixed)) == ["Sub"]


def test_computed_sizes_of_which_one_may_differ_are_written_as_they_are(rewrite, outputs):
    """(n, 6) to (n, 2, 3), as exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["front"]),
        helper.make_node("Concat", ["front", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["y"]),
    ]
    whole = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([2, 3])}
    model = make(nodes, [value("x", "n", 6)], [value("y", "n", 6)], whole)

    written = rewrite(model)

    assert ops(written) == ["Reshape", "Relu", "Reshape"]
    assert [tensor.tolist() for tensor in weights(written).values()] == [[-1, 2, 3], [-1, 6]]
    assert_same(outputs(model), outputs(written), 0)


def test_the_size_of_a_value_that_is_gone_is_taken_of_another(rewrite, outputs):
    """norm(x) is read by a Shape as well, and goes into the convolution behind it."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Add", ["b", "t"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["d"]),
        helper.make_node("Identity", ["c"], ["e"]),
        helper.make_node("Shape", ["e"], ["shape"]),
        helper.make_node("Reshape", ["d", "shape"], ["y"]),
    ]
    consts = {"s": f(4, 1, 1), "t": f(4, 1, 1), "w": f(4, 4, 1, 1)}
    model = make(nodes, [value("x", "n", 4, "h", "w")], [value("y", "n", 4, "h", "w")], consts)
    weight = consts["w"] * consts["s"].reshape(1, 4, 1, 1)
    bias = (consts["w"].reshape(4, 4) @ consts["t"].reshape(4)).astype(np.float32)
    conv = ir.Conv(literal(weight), literal(bias), (1, 1), ((0, 0), (0, 0)), (1, 1))

    written = rewrite(model, lambda program: replaced(program, [1, 2, 3], conv))

    assert ops(written) == ["Relu", "Conv", "Shape", "Reshape"]
    assert written.graph.node[2].input[0] == "a"
    assert_same(outputs(model), outputs(written))


def test_a_graph_captured_by_an_inner_one_keeps_its_names(rewrite, outputs):
    then = helper.make_graph([helper.make_node("Add", ["same", "w"], ["t"])], "then", [], [value("t", 2, 4)])
    other = helper.make_graph([helper.make_node("Neg", ["same"], ["e"])], "else", [], [value("e", 2, 4)])
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["same"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["flag"], to=9),
        helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
    ]
    model = make(nodes, [value("x", 2, 4)], [value("y", 2, 4)], {"w": f(4)})

    written = rewrite(model)

    assert ops(written) == ["Relu", "Identity", "ReduceSum", "Cast", "If"]
    assert_same(outputs(model), outputs(written), 0)


def test_a_constant_operator_with_a_large_tensor_is_written_whole(rewrite, outputs):
    held = f(5000)
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(held)),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    model = make(nodes, [value("x", 2, 5000)], [value("y", 2, 5000)], {})
    old = make(nodes, [value("x", 2, 5000)], [value("y", 2, 5000)], {}, ir_version=3)

    assert ops(rewrite(model)) == ["Add"]
    assert ops(rewrite(old)) == ["Constant", "Add"]
    assert_same(outputs(model), outputs(rewrite(old)), 0)
    assert np.array_equal(weights(rewrite(model))["c"], held)


def test_weights_in_typed_fields_are_written_with_their_values(rewrite, outputs):
    model = conv_norm()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, array.flatten()))
        assert tensor.float_data

    assert_same(outputs(model), outputs(rewrite(model)), 0)


def test_functions_of_the_model_are_put_in_place(rewrite, outputs):
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    function = helper.make_function("own", "Negated", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("Negated", ["x"], ["y"], domain="own")]
    graph = helper.make_graph(nodes, "net", [value("x", 2)], [value("y", 2)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    onnx.checker.check_model(model)

    written = rewrite(model)

    assert ops(written) == ["Relu", "Neg"]
    assert_same(outputs(model), outputs(written), 0)
