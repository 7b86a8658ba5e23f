"""Graphs of several operators: what is constant, what varies, what changes nothing, what is not read."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from app.engine.forward.onnx import follow, ports
from app.engine.interpret.numeric import run
from app.engine.ir.program import Port
from tests.engine.forward.onnx.cases import c, case, f, i
from tests.engine.forward.onnx.models import followed, model_of, run_onnxruntime, run_ours, tensors_of

node = helper.make_node
X = f(2, 4, 6, 5)
DYNAMIC = {"x": ("n", 4, "h", "w")}


def kinds(program):
    return [type(one.operation).__name__ for one in program.graph.nodes]


def check(model, inputs, dtype=torch.float32, tolerance=1e-5):
    """Followed without skipping, and the outputs are onnxruntime's."""
    program, ours = run_ours(model, inputs, dtype)
    theirs = run_onnxruntime(model, inputs)
    assert not program.skipped
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor.numpy(), theirs[name], rtol=tolerance, atol=tolerance)
    return program


def test_every_node_is_owned_by_the_first_output_of_its_operator():
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Split", ["a"], ["b", "d"], axis=1), node("Add", ["b", "d"], ["y"])]
    program = check(model_of(nodes, {"x": X}, {"w": f(6, 4, 3, 3)}), {"x": X})

    assert [one.owner for one in program.graph.nodes] == ["a", "b", "b", "y"]
    assert all(one.scope is None for one in program.graph.nodes)
    assert program.inputs == ("x",)
    assert program.outputs == ("y",)
    assert {program.names[id(one.output)] for one in program.graph.nodes} == {"a", "b", "d", "y"}
    assert program.graph.nodes[0].operation.weight.paths == ("w",)


def test_a_norm_written_as_arithmetic_is_scale_and_shift_with_exact_constants():
    nodes = [
        node("Add", ["var", "eps"], ["sum"]),
        node("Sqrt", ["sum"], ["std"]),
        node("Sub", ["x", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["y"]),
    ]
    var = f(4, 1, 1, low=0.5)
    consts = {"var": var, "mean": f(4, 1, 1), "eps": np.float32(1e-5).reshape(())}
    program = check(model_of(nodes, {"x": X}, consts), {"x": X})

    assert kinds(program) == ["Shift", "Scale"]
    factor = program.graph.nodes[1].operation.factor
    wanted = 1 / np.sqrt(var.astype(np.float64) + np.float64(np.float32(1e-5)))
    np.testing.assert_allclose(factor.value(torch.float64).numpy(), wanted, rtol=1e-15)
    assert factor.paths == ("var", "eps")
    assert set(program.constants) == {"var", "mean", "eps", "sum", "std"}


def test_an_exponent_is_no_weight():
    model = model_of([node("Pow", ["x", "two"], ["y"])], {"x": X}, {"two": np.float32([2])})

    assert list(check(model, {"x": X}).graph.nodes[0].consts()) == []


def test_a_constant_that_is_used_twice_is_computed_once():
    """Fifty doublings would take 2^50 steps if each use was computed anew."""
    nodes = [node("Add", [f"c{k}", f"c{k}"], [f"c{k + 1}"]) for k in range(50)]
    nodes.append(node("Mul", ["x", "c50"], ["y"]))
    program = check(model_of(nodes, {"x": X}, {"c0": np.float32([2**-49])}), {"x": X})

    assert kinds(program) == ["Scale"]


def test_a_chain_of_constants_that_is_too_long_is_left_to_the_graph():
    nodes = [node("Sin", [f"c{k}"], [f"c{k + 1}"]) for k in range(400)]
    nodes.append(node("Mul", ["x", "c400"], ["y"]))
    program = check(model_of(nodes, {"x": X}, {"c0": f(4, 1, 1)}), {"x": X})

    assert kinds(program)[-1] == "Apply"
    assert 100 < len(program.graph.nodes) < 200


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_no_weight_is_made_of_a_size_that_may_differ(op):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "two"], ["height"]),
        node("Cast", ["height"], ["number"], to=1),
        node(op, ["x", "number"], ["y"]),
    ]
    consts = {"two": np.int64(2).reshape(())}

    assert kinds(check(model_of(nodes, {"x": X}, consts, dims=DYNAMIC), {"x": X})) == ["Apply"]
    assert kinds(check(model_of(nodes, {"x": X}, consts), {"x": X})) in (["Scale"], ["Shift"])


def test_of_sizes_that_vary_in_part_the_certain_ones_are_constants():
    """The channels, gathered from the shape of a map of any size, halved and scaled."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["channels"], axis=0),
        node("Div", ["channels", "two"], ["half"]),
        node("Unsqueeze", ["half", "zero"], ["end"]),
        node("Slice", ["x", "zero", "end", "axis"], ["part"]),
        node("Cast", ["half"], ["number"], to=1),
        node("Div", ["part", "number"], ["y"]),
    ]
    one = {name: np.int64(value).reshape(()) for name, value in {"one": 1, "two": 2}.items()}
    consts = one | {"zero": i(0), "axis": i(1)}

    assert kinds(check(model_of(nodes, {"x": X}, consts, dims=DYNAMIC), {"x": X})) == ["Take", "Scale"]


def test_reshapes_of_computed_sizes_are_followed():
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["front"]),
        node("Concat", ["front", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    model = model_of(nodes, {"x": X}, {"zero": i(0), "two": i(2), "rest": i(-1)}, dims=DYNAMIC)

    assert check(model, {"x": X}).graph.outputs[0][0].shape == (2, 4, 30)


def sized(*between):
    """An operator that asks for the sizes of `a`, and what stands before and behind."""
    nodes = [*between, node("Shape", ["a"], ["shape"]), node("Reshape", ["z", "shape"], ["y"])]
    consts = {"s": f(4, 1, 1), "w": f(4, 4, 1, 1), "w3": f(6, 4, 1, 1)}
    return followed(model_of(nodes, {"x": X}, consts, dims=DYNAMIC), {"x": X})


def test_a_value_whose_sizes_another_has_may_go():
    """What is scaled is as large as what it is made of."""
    program = sized(node("Relu", ["x"], ["r"]), node("Mul", ["r", "s"], ["a"]), node("Conv", ["a", "w"], ["z"]))

    assert program.graph.outputs[2] == []


def test_a_value_whose_sizes_no_other_has_stays():
    """A convolution between two others: nothing else is as large as its output for certain."""
    program = sized(node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "w"], ["z"]))

    assert [program.names[id(value)] for value in program.graph.outputs[2]] == ["a"]


def test_what_only_its_sizes_are_wanted_of_is_kept():
    program = sized(node("Conv", ["x", "w3"], ["c"]), node("Relu", ["c"], ["a"]), node("Conv", ["x", "w3"], ["z"]))

    assert [program.names[id(value)] for value in program.graph.outputs[2]] == ["a"]
    assert kinds(program) == ["Conv", "Apply", "Conv", "Apply"]


def test_sizes_that_the_writer_computes_keep_nothing():
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "w"], ["z"]), node("Shape", ["a"], ["shape"])]
    model = model_of([*nodes, node("Reshape", ["z", "shape"], ["y"])], {"x": X}, {"w": f(4, 4, 1, 1)})

    assert followed(model, {"x": X}).graph.outputs[2] == []
    model.ir_version = 3
    assert len(followed(model, {"x": X}).graph.outputs[2]) == 1


def test_what_changes_nothing_is_an_alias():
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["b"]),
        node("Dropout", ["b"], ["d"]),
        node("Cast", ["d"], ["e"], to=1),
        node("Transpose", ["e"], ["g"], perm=[0, 1, 2, 3]),
        node("Identity", ["w"], ["v"]),
        node("Conv", ["g", "v"], ["y"]),
    ]
    program = check(model_of(nodes, {"x": X}, {"w": f(3, 4, 1, 1)}, ["y", "b"]), {"x": X})

    assert kinds(program) == ["Apply", "Conv"]
    assert dict(program.aliases) == {**dict.fromkeys("bdeg", "a"), "v": "w"}
    assert program.outputs == ("y", "b")
    assert program.names[id(program.graph.outputs[0][1])] == "a"


def test_a_mask_of_dropout_keeps_everything():
    nodes = [
        node("Dropout", ["x"], ["a", "mask"]),
        node("Not", ["mask"], ["none"]),
        node("Where", ["none", "x", "a"], ["y"]),
    ]
    check(model_of(nodes, {"x": X}), {"x": X})


def test_quantised_weights_are_not_folded():
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        node("Conv", ["xd", "wd"], ["y"]),
    ]
    consts = {
        "xs": np.float32(0.02),
        "xz": np.uint8(120),
        "wq": np.arange(24, dtype=np.int8).reshape(6, 4, 1, 1),
        "ws": f(6, low=0.01, high=0.02),
        "wz": np.zeros(6, np.int8),
    }
    program = check(model_of(nodes, {"x": X}, consts), {"x": X})

    assert kinds(program) == ["Apply"] * 4
    assert {"wd", "xd"} & set(program.constants) == set()


@pytest.mark.parametrize("op", ["QLinearMatMul", "MatMulInteger"])
def test_integer_operators_of_constants_alone_stay_operators(op):
    a, b = np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(12, dtype=np.uint8).reshape(3, 4)
    scale, zero = c(np.float32(0.1)), c(np.uint8(3))
    inputs = (a, scale, zero, c(b), scale, zero, scale, zero) if op == "QLinearMatMul" else (a, c(b), zero, zero)
    model, given = case(op, *inputs).build()

    assert kinds(check(model, given)) == ["Apply"]
    model, given = case(op, *(c(one) if isinstance(one, np.ndarray) else one for one in inputs)).build()
    assert kinds(followed(model, given)) == ["Apply"]


def unknown(**attributes):
    """x -> relu -> an operator that nobody knows -> conv -> y."""
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Strange", ["a"], ["b"], domain="far", **attributes),
        node("Conv", ["b", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": X}, {"w": f(3, 4, 1, 1)}, domains={"far": 1})


def test_behind_an_operator_that_is_not_known_nothing_is_followed_without_its_shape():
    program = followed(unknown(), {"x": X})

    assert [(one.path, one.code) for one in program.skipped] == [("b", "operator-not-known"), ("y", "input-not-known")]
    assert "Strange" in program.skipped[0].reason
    assert kinds(program) == ["Apply"]
    assert (program.outputs, program.graph.outputs[0]) == ((), [])
    assert [program.names[id(value)] for value in program.graph.outputs[1]] == ["a"]


def test_an_operator_that_is_not_known_opens_the_graph_anew_where_the_file_says_its_shape():
    model = unknown()
    model.graph.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, X.shape))

    program = followed(model, {"x": X})

    assert [one.path for one in program.skipped] == ["b"]
    assert kinds(program) == ["Apply", "Conv"]
    assert [program.names[id(value)] for value in program.graph.inputs] == ["x", "b"]
    assert program.own_inputs == program.graph.inputs[:1]
    assert program.outputs == ("y",)
    outputs, ended, _ = run(program.graph, [torch.from_numpy(X), torch.from_numpy(X)], torch.float32)
    assert torch.equal(ended[0], torch.from_numpy(X).relu())
    assert outputs[0].shape == (2, 3, 6, 5)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "code"),
    [
        ("RandomNormalLike", ["x"], {}, "not-deterministic"),
        ("Bernoulli", ["x"], {}, "not-deterministic"),
        ("NonZero", ["x"], {}, "needs-its-data"),
        ("Reshape", ["x", "k"], {}, "needs-its-data"),
        ("Pad", ["x", "k"], {}, "needs-its-data"),
        ("StringNormalizer", ["t"], {}, "input-not-known"),
        ("SequenceConstruct", ["x", "x"], {}, "operator-not-evaluated"),
        ("Conv", ["x", "wrong"], {}, "shapes-differ"),
        ("Conv", ["x", "w"], {"kernel_shape": [2, 2]}, "structure-differs"),
        ("Conv", ["x", "w"], {"pads": [0, 0, -1, 0]}, "structure-differs"),
        ("Conv", ["x", "w"], {"group": "many"}, "structure-differs"),
        ("DepthToSpace", ["x"], {"blocksize": 0}, "operator-not-evaluated"),
        ("Concat", ["x", "x"], {"axis": 9}, "shapes-differ"),
        ("Concat", ["x", "x"], {}, "shapes-differ"),
        ("Transpose", ["x"], {"perm": [0, 0, 1, 1]}, "shapes-differ"),
        ("Softmax", ["x"], {"axis": 1.5}, "structure-differs"),
        ("AveragePool", ["x"], {"kernel_shape": [2]}, "structure-differs"),
        ("Cast", ["x"], {"to": 8}, "dtype-not-read"),
        ("Upsample", ["x"], {}, "operator-not-known"),
    ],
)
def test_an_operator_that_can_not_be_read_is_skipped_by_name(op, inputs, attributes, code):
    """Whatever else is wrong with it: the rest of the graph is followed."""
    graph = helper.make_graph(
        [node("Relu", ["x"], ["a"]), node(op, inputs, ["b"], **attributes), node("Neg", ["a"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape),
            helper.make_tensor_value_info("k", TensorProto.INT64, (8,)),
            helper.make_tensor_value_info("t", TensorProto.STRING, (1,)),
        ],
        [onnx.ValueInfoProto(name="y"), onnx.ValueInfoProto(name="b")],
        [numpy_helper.from_array(f(3, 4, 1, 1), "w"), numpy_helper.from_array(f(3, 7, 1, 1), "wrong")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])

    program = follow(model, tensors_of(model), {"x": X.shape, "k": (8,), "t": (1,)})

    assert [(one.path, one.code) for one in program.skipped] == [("b", code)]
    assert program.outputs == ("y",)
    assert program.skipped[0].reason


def branches(then_shape=(2, 4)):
    """If the sum of x is not zero: x + w, else a constant."""
    then = helper.make_graph([node("Add", ["x", "w"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")])
    held = numpy_helper.from_array(np.full(then_shape, 0.1, np.float32))
    other = helper.make_graph([node("Constant", [], ["e"], value=held)], "else", [], [onnx.ValueInfoProto(name="e")])
    for graph, shape in ((then, (2, 4)), (other, then_shape)):
        graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        for size in shape:
            graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["flag"], to=9),
        node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
    ]
    return model_of(nodes, {"x": f(2, 4)}, {"w": f(4)})


def test_an_inner_graph_reads_what_it_captures():
    x = f(2, 4)
    program = check(branches(), {"x": x})

    assert program.graph.nodes[-1].inputs == (program.graph.nodes[1].output, program.graph.inputs[0])
    check(branches(), {"x": np.zeros((2, 4), np.float32)})


def test_an_inner_graph_keeps_the_precision_of_the_run():
    """Its constants are in the run's dtype, too."""
    zeros = np.zeros((2, 4), np.float32)
    _, ours = run_ours(branches(), {"x": zeros}, torch.float64)

    assert ours["y"].dtype == torch.float64


def test_an_inner_graph_whose_result_may_have_several_shapes_is_skipped():
    program = followed(branches((3, 4)), {"x": f(2, 4)})

    assert [one.code for one in program.skipped] == ["needs-its-data"]
    assert len(program.graph.outputs[1]) == 2


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_a_scan_is_run_by_the_reference():
    """Running sums of rows."""
    inner = [node("Add", ["sum", "row"], ["next"]), node("Identity", ["next"], ["copy"])]
    body = helper.make_graph(
        inner, "body", [floats("sum", 4), floats("row", 4)], [floats("next", 4), floats("copy", 4)]
    )
    model = model_of(
        [node("Scan", ["zero", "x"], ["last", "y"], body=body, num_scan_inputs=1)], {"x": f(3, 4)}, {"zero": f(4)}
    )

    program = followed(model, {"x": f(3, 4)})

    assert program.skipped == ()
    check(model, {"x": f(3, 4)})


def test_a_loop_whose_result_may_have_several_shapes_is_skipped():
    inner = [node("Add", ["state", "step"], ["next"]), node("Identity", ["on"], ["still"])]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, ()) for name in ("on", "still")]
    count = helper.make_tensor_value_info("count", TensorProto.INT64, ())
    body = helper.make_graph(inner, "body", [count, flags[0], floats("state", 2, 4)], [flags[1], floats("next", 2, 4)])
    nodes = [node("Relu", ["x"], ["step"]), node("Loop", ["times", "", "x"], ["y"], body=body)]
    program = followed(model_of(nodes, {"x": f(2, 4)}, {"times": np.int64(3).reshape(())}), {"x": f(2, 4)})

    assert [one.code for one in program.skipped] == ["needs-its-data"]
    assert [program.names[id(value)] for value in program.graph.outputs[1]] == ["x", "step"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(f(4, 1, 1))}, "Scale"),
        ({"value_float": 0.5}, None),
    ],
)
def test_constants_are_read_in_the_ways_that_the_reader_gives(attributes, expected):
    nodes = [node("Constant", [], ["k"], **attributes), node("Mul", ["x", "k"], ["y"])]
    model = model_of(nodes, {"x": X})
    if expected is not None:
        assert kinds(check(model, {"x": X})) == [expected]
    else:
        program = follow(model, {}, {"x": X.shape})
        assert [one.code for one in program.skipped] == ["dtype-not-read"]


def test_a_constant_output_is_left_to_the_file():
    nodes = [node("Relu", ["x"], ["y"]), node("Add", ["w", "w"], ["z"])]
    program = check(model_of(nodes, {"x": X}, {"w": f(3)}, ["z", "y"]), {"x": X})

    assert program.outputs == ("y",)
    assert "z" in program.constants


def test_only_a_split_normalisation_may_be_taken_apart():
    nodes = [
        node("LayerNormalization", ["x", "w", "b"], ["a"]),
        node("Sub", ["a", "x"], ["d"]),
        node("AveragePool", ["d"], ["y"], kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1),
    ]
    program = check(model_of(nodes, {"x": X}, {"w": f(5), "b": f(5)}), {"x": X})

    assert program.partial == {"a"}
    assert kinds(program) == ["Apply", "Scale", "Shift", "Scale", "Add", "Pad", "AvgPool"]


def test_dead_operators_are_not_in_the_graph():
    nodes = [node("Relu", ["x"], ["a"]), node("Exp", ["x"], ["b"]), node("Neg", ["a"], ["y"])]

    assert [one.owner for one in followed(model_of(nodes, {"x": X}), {"x": X}).graph.nodes] == ["a", "y"]


@pytest.mark.parametrize("name", ["float16", "float64"])
def test_values_have_the_dtype_of_the_file(name):
    dtype, half = getattr(torch, name), X.astype(name)
    elem = {"float16": 10, "float64": 11}[name]
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Sub", ["k", "a"], ["b"]),
        node("Cast", ["b"], ["d"], to=1),
        node("Relu", ["d"], ["e"]),
        node("Cast", ["e"], ["y"], to=elem),
    ]
    model = model_of(nodes, {"x": half}, {"w": f(3, 4, 1, 1).astype(name), "k": np.ones(1, name)})
    program = followed(model, {"x": half})

    assert [one.output.dtype for one in program.graph.nodes] == [dtype] * 3 + [torch.float32] * 2 + [dtype]
    assert program.skipped == ()
    _, native = run_ours(model, {"x": half}, None)
    assert native["y"].dtype == dtype
    _, wide = run_ours(model, {"x": half}, torch.float64)
    assert wide["y"].dtype == torch.float64
    np.testing.assert_allclose(native["y"].double().numpy(), wide["y"].numpy(), atol=0.02)


def test_ports_are_the_inputs_that_are_no_weights():
    declared = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT16, ("n", 3, None, -1)),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, (3,)),
        helper.make_tensor_value_info("flags", TensorProto.BOOL, None),
        helper.make_tensor_value_info("text", TensorProto.STRING, (1,)),
        helper.make_tensor_value_info("scalar", TensorProto.INT64, ()),
    ]
    graph = helper.make_graph([], "g", declared, [], [numpy_helper.from_array(f(3), "w")])

    assert ports(helper.make_model(graph)) == (
        Port("x", torch.float16, ("n", 3, None, None)),
        Port("flags", torch.bool, None),
        Port("scalar", torch.int64, ()),
    )


def test_a_default_domain_by_its_name_is_the_default_domain():
    nodes = [node("Conv", ["x", "w"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]), node("Hardmax", ["a"], ["y"])]
    model = model_of(nodes, {"x": X}, {"w": f(3, 4, 1, 1)})
    for one in model.graph.node:
        one.domain = "ai.onnx"

    program = followed(model, {"x": X})

    assert kinds(program) == ["Conv", "Apply"]
    assert not program.skipped
    assert model.graph.node[0].domain == "ai.onnx"


def test_a_constant_that_is_expanded_to_a_size_that_may_differ_may_differ():
    nodes = [
        node("Shape", ["x"], ["sizes"]),
        node("Expand", ["token", "sizes"], ["y0"]),
        node("Add", ["x", "y0"], ["y"]),
    ]
    model = model_of(nodes, {"x": X}, {"token": f(1, 4, 1, 1)}, dims=DYNAMIC)
    program = check(model, {"x": X})

    assert program.constants["y0"].varies
    assert kinds(program) == ["Apply"]
