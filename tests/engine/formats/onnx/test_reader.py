"""What the reader gives of a sound model, and how it ends on one that is not: quickly, in an error with a name."""

import random
import time
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from app.engine.formats import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx import read_onnx, write_onnx
from app.engine.formats.onnx.wire import header, varint
from app.engine.forward.onnx import follow, ports
from app.errors import AppError, MalformedFile, TooLarge, UnsupportedContent
from tests.engine.formats.onnx.nets import conv_norm, f, make, value
from tests.engine.formats.test_mutations import changed

ARRAYS = {
    "float32": f(3, 4),
    "large": f(600, 20),
    "float16": f(3, 4).astype(np.float16),
    "float64": f(100, 30).astype(np.float64),
    "int64": np.arange(5),
    "int8": np.array([-3, 4], np.int8),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
}


def sound(**fields):
    """A model of one operator with `fields` of its graph."""
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", 2)], [value("y", 2)])
    for name, parts in fields.items():
        getattr(graph, name).extend(parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_initializer_is_read_as_it_is(read, raw):
    tensors = [
        numpy_helper.from_array(a, n)
        if raw
        else helper.make_tensor(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.flatten())
        for n, a in ARRAYS.items()
    ]
    file = read(sound(initializer=tensors))

    assert set(file.tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        stored = file.tensors[name]
        assert np.array_equal(stored.read().numpy(), array)
        assert (stored.dtype, stored.shape) == (torch.from_numpy(array).dtype, array.shape)
        in_file = isinstance(stored.storage.source, FileBytes)
        assert in_file == (name in ("large", "float64"))
    assert (file.format, file.globals) == ("onnx", ())
    left = {tensor.name: tensor.ByteSize() for tensor in file.model.graph.initializer}
    assert left["large"] < 50


def test_bfloat16_and_float8_are_read_and_packed_elements_are_left_in_the_model(read):
    tensors = [
        helper.make_tensor("bf", TensorProto.BFLOAT16, (2,), [1.5, -2.0]),
        helper.make_tensor("f8", TensorProto.FLOAT8E4M3FN, (2,), [1.5, -2.0]),
        helper.make_tensor("i4", TensorProto.INT4, (3,), [1, -2, 3]),
        helper.make_tensor("text", TensorProto.STRING, (1,), [b"cat"]),
    ]
    file = read(sound(initializer=tensors))

    assert file.tensors["bf"].read().tolist() == [1.5, -2.0]
    assert file.tensors["f8"].read().float().tolist() == [1.5, -2.0]
    assert set(file.tensors) == {"bf", "f8"}
    assert list(file.model.graph.initializer) == tensors


def test_constants_are_tensors_by_the_name_of_their_output(read):
    large = f(100, 100)
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.array([1, 2]))),
        helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(large, "b")),
        helper.make_node("Constant", [], ["c"], value_float=0.5),
        helper.make_node("Constant", [], ["d"], value_floats=[0.5, 1.0]),
        helper.make_node("Constant", [], ["e"], value_int=3),
        helper.make_node("Constant", [], ["h"], value_ints=[3, 4]),
        helper.make_node("Constant", [], ["s"], value_string="text"),
    ]
    file = read(sound(node=nodes))

    values = {name: tensor.read() for name, tensor in file.tensors.items() if name != "b"}
    assert {n: v.tolist() for n, v in values.items()} == {"a": [1, 2], "c": 0.5, "d": [0.5, 1], "e": 3, "h": [3, 4]}
    assert values["c"].dtype == torch.float32
    assert values["e"].dtype == torch.int64
    assert np.array_equal(file.tensors["b"].read().numpy(), large)
    assert file.model.ByteSize() < 1000


@pytest.mark.parametrize(
    "where", ["../../etc/passwd", "/etc/passwd", "weights.bin", "https:" + "//weights", ""], ids=lambda w: w or "empty"
)
def test_external_data_is_refused_by_name_and_no_path_is_opened(read, where, monkeypatch):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=where)
    model = sound(initializer=[tensor])
    monkeypatch.setattr("builtins.open", None)

    with pytest.raises(UnsupportedContent, match="external data") as caught:
        read(model)
    assert "save_as_external_data=False" in caught.value.remedy


@pytest.mark.parametrize("place", ["constant", "inner", "sparse"])
def test_external_data_is_refused_wherever_it_stands(read, place):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    if place == "sparse":
        indices = numpy_helper.from_array(np.array([0]), "i")
        model = sound(sparse_initializer=[onnx.SparseTensorProto(values=tensor, indices=indices, dims=[3])])
    elif place == "constant":
        model = sound(node=[helper.make_node("Constant", [], ["c"], value=tensor)])
    else:
        inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "t", [], [value("c", 3)])
        model = sound(node=[helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)])

    with pytest.raises(UnsupportedContent, match="external data"):
        read(model)


def broken(**changes):
    tensor = numpy_helper.from_array(np.zeros((2, 3), np.float32), "w")
    for name, given in changes.items():
        if isinstance(given, (list, tuple)):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(given)
        else:
            setattr(tensor, name, given)
    return tensor


BROKEN = [
    ({"dims": [1 << 40, 1 << 10]}, "limit|needs"),
    ({"dims": [1 << 40, 1 << 40]}, "2\\^62"),
    ({"dims": [4, 3]}, "needs 48 bytes, it has 24"),
    ({"dims": [-2, -3]}, "dims"),
    ({"dims": [1] * 65}, "dims"),
    ({"dims": [0, 3]}, "needs 0 bytes"),
    ({"data_type": 0}, "element type 0"),
    ({"data_type": 99}, "element type 99"),
    ({"data_type": 8}, "string_data"),
    ({"float_data": [1.0]}, "several fields"),
    ({"raw_data": b"", "float_data": [1.0]}, "needs 6 entries, it has 1"),
    ({"raw_data": b"", "int64_data": [1] * 6}, "has its data in int64_data"),
    ({"raw_data": b""}, "needs 24 bytes, it has 0"),
]
# Also where there is so much data that it stays in the file, which needs data of its own.
LARGE = [(changes, message, True) for changes, message in BROKEN if "raw_data" not in changes]


@pytest.mark.parametrize(("changes", "message", "large"), [*((*case, False) for case in BROKEN), *LARGE])
def test_a_tensor_that_is_not_what_it_declares_is_refused(read, changes, message, large):
    tensor = broken(**changes)
    if large:
        tensor.raw_data = bytes(40_000)
        message = message.replace("has 24", "has 40,000")
    with pytest.raises((MalformedFile, TooLarge), match=message):
        read(sound(initializer=[tensor]))


def test_more_bytes_than_the_limit_are_too_large(read):
    with pytest.raises(TooLarge, match="tensor 'w'"):
        read(sound(initializer=[numpy_helper.from_array(f(100, 100), "w")]), Limits(max_tensor_bytes=1000))


@pytest.mark.parametrize("opset", [10, 99])
def test_an_opset_that_is_not_read_is_named(read, opset):
    model = sound()
    model.opset_import[0].version = opset
    with pytest.raises(UnsupportedContent, match=f"opset {opset}; opsets 11 to"):
        read(model)


def test_a_model_without_the_default_opset_or_for_training_is_refused(read):
    model = sound()
    model.opset_import[0].domain = "other"
    with pytest.raises(UnsupportedContent, match="no opset"):
        read(model)
    training = sound()
    training.training_info.add()
    with pytest.raises(UnsupportedContent, match="training"):
        read(training)


def node(*args, **kwargs):
    return helper.make_node(*args, **kwargs)


def inner(*nodes, output="t"):
    return helper.make_graph(list(nodes), "inner", [], [value(output, 2)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"node": [node("Relu", ["z"], ["a"])]}, "reads 'z' before"),
        ({"node": [node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"])]}, "reads 'b' before"),
        ({"node": [node("Relu", ["x"], ["y"])]}, "gives 'y', which is given"),
        ({"node": [node("Relu", ["x"], ["x"])]}, "gives 'x', which is given"),
        ({"node": [node("Split", ["x"], ["a", "a"])]}, "gives 'a', which is given"),
        ({"input": [value("x", 2)]}, "two inputs"),
        ({"initializer": [numpy_helper.from_array(f(2), "w")] * 2}, "two initializers"),
        ({"initializer": [numpy_helper.from_array(f(9000), "w")] * 2}, "two initializers"),
        ({"initializer": [numpy_helper.from_array(f(2))]}, "two initializers"),
        ({"output": [value("lost", 2)]}, "gives the output 'lost'"),
        ({"node": [node("If", ["x"], ["a"], then_branch=inner(node("Relu", ["z"], ["t"])))]}, "reads 'z'"),
        ({"node": [node("If", ["x"], ["a"], then_branch=inner(node("Relu", ["x"], ["y"]), output="y"))]}, "gives 'y'"),
    ],
)
def test_a_graph_that_is_none_is_refused_with_the_name(read, fields, message):
    with pytest.raises(MalformedFile, match=message):
        read(sound(**fields))


def nested(depth):
    graph = inner(node("Relu", ["x"], ["t"]))
    for _ in range(depth):
        graph = inner(node("If", ["x"], ["t"], then_branch=graph))
    return sound(node=[node("If", ["x"], ["t"], then_branch=graph)])


def test_graphs_within_graphs_are_read_up_to_a_depth(read):
    read(sound(node=[node("If", ["x"], ["t"], then_branch=inner(node("Relu", ["x"], ["u"]), output="u"))]))
    with pytest.raises(TooLarge, match="nesting"):
        read(nested(25))


def test_messages_nested_a_hundred_thousand_times_end_quickly(read):
    """A type of optionals within one another."""
    content = b""
    for _ in range(20_000):  # TypeProto.optional_type.elem_type
        content = header(9, len(header(1, len(content)) + content)) + header(1, len(content)) + content
    start = time.monotonic()
    with pytest.raises(AppError):
        read(sound().SerializeToString() + header(7, len(content)) + content)
    declared = header(11, len(header(2, len(content)) + content)) + header(2, len(content)) + content
    graph = sound().graph.SerializeToString() + declared
    with pytest.raises(TooLarge, match="nesting"):
        read(b"\x08\x08" + header(7, len(graph)) + graph)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("number", [1, 5, 13])
def test_a_million_parts_end_quickly(read, number):
    """Empty operators, tensors and value infos, two bytes each."""
    graph = header(number, 0) * 1_000_000
    start = time.monotonic()
    with pytest.raises((TooLarge, MalformedFile)):
        read(b"\x08\x08" + header(7, len(graph)) + graph, Limits(max_graph_fields=900_000))
    assert time.monotonic() - start < 60


def test_what_is_no_tensor_has_a_limit_of_its_own(read):
    model = sound()
    model.doc_string = "x" * 100_000
    with pytest.raises(TooLarge, match="beside its tensors"):
        read(model, Limits(max_graph_bytes=50_000))


def test_functions_that_double_each_other_are_counted_before_they_are_put_in_place(read):
    names = [f"F{k}" for k in range(40)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets)]
    for below, name in pairwise(names):
        calls = [node(below, ["a"], ["m"], domain="own"), node(below, ["m"], ["b"], domain="own")]
        functions.append(helper.make_function("own", name, ["a"], ["b"], calls, opsets))
    graph = helper.make_graph([node("F39", ["x"], ["y"], domain="own")], "g", [value("x", 2)], [value("y", 2)])
    model = helper.make_model(graph, opset_imports=opsets, functions=functions)

    with pytest.raises(TooLarge, match="functions in place"):
        read(model)


def test_functions_that_call_themselves_are_refused(read):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    calls = [node("F", ["a"], ["b"], domain="own")]
    function = helper.make_function("own", "F", ["a"], ["b"], calls, opsets)
    graph = helper.make_graph([node("F", ["x"], ["y"], domain="own")], "g", [value("x", 2)], [value("y", 2)])
    with pytest.raises(MalformedFile, match="calls itself"):
        read(helper.make_model(graph, opset_imports=opsets, functions=[function]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x08\x08", "0 graphs"),
        (b"\x08\x08\x3a\x00\x3a\x00", "2 graphs"),
        (b"\x08\x08\x38\x05", "graphs"),
        (b"\x08\x08\x3a\x7f", "behind the end"),
        (b"\x08\x08\x3a" + varint(1 << 60), "behind the end"),
        (b"\x08" + b"\xff" * 20, "no end"),
        (b"\x0b\x08\x3a\x00", "wire type 3"),
        (b"\x08\x08\x12\x01\xff\x3a\x00", "not UTF-8"),
        (b"\x00\x08", "no number"),
    ],
)
def test_bytes_that_are_no_model_are_refused(read, content, message):
    with pytest.raises(MalformedFile, match=message):
        read(content)


def test_a_model_cut_anywhere_is_an_app_error(read):
    content = conv_norm().SerializeToString()
    for length in [*range(1, 600, 7), *range(600, len(content), 997)]:
        with pytest.raises(AppError):
            read(content[:length])


def small():
    """A few operators with attributes of every kind."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], auto_pad="NOTSET", group=1),
        node("Add", ["a", "b"], ["c"]),
        node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2]),
        node("Split", ["d"], ["e", "g"], axis=1),
        node("Softmax", ["e"], ["h"], axis=-1),
        node("Concat", ["h", "g"], ["i"], axis=1),
        node("Reshape", ["i", "shape"], ["y"]),
    ]
    weights = {"w": f(4, 3, 3, 3), "b": f(4, 1, 1), "shape": np.array([0, 4, -1])}
    return make(nodes, [value("x", 2, 3, 5, 5)], [value("y", 2, 4, 16)], weights, opset=13)


def probe(port):
    return tuple(size if isinstance(size, int) and size < 64 else 2 for size in port.dims or ())


def test_a_mutated_model_ends_in_success_or_an_app_error(tmp_path):
    """Read, followed and written: whatever bytes change."""
    content, source, refused = small().SerializeToString(), random.Random(7), 0
    path = tmp_path / "x.onnx"
    for _ in range(400):
        path.write_bytes(changed(content, source))
        try:
            file = read_onnx(MappedFile(path), Limits(max_tensor_bytes=1 << 20))
            program = follow(file.model, file.tensors, {port.name: probe(port) for port in ports(file.model)})
            write_onnx(file, program, program.graph, tmp_path / "y.onnx")
        except AppError:
            refused += 1
    assert refused > 100
