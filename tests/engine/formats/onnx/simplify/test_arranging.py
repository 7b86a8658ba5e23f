"""Operators that only arrange elements, or change nothing, are as few as possible, and the outputs stay bit for bit."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.engine.formats.onnx.nets import make, value


@pytest.fixture
def left(rewrite, outputs):
    """What is left of a model; its outputs are those of the original."""

    def run(model):
        written = rewrite(model)
        before, after = outputs(model), outputs(written)
        assert before.keys() == after.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)
        return [node.op_type for node in written.graph.node]

    return run


def node(kind, reads, gives, **attributes):
    return helper.make_node(kind, reads.split(), gives.split(), **attributes)


def net(nodes, inputs, output, **constants):
    arrays = {name: np.array(numbers) for name, numbers in constants.items()}
    return make(nodes, inputs, [output], arrays)


def test_transpositions_in_a_row_become_one(left):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Transpose", "a", "b", perm=[1, 0, 2, 3]),
        node("Transpose", "b", "y"),
    ]

    assert left(net(nodes, [value("x", 2, 3, 4, 5)], value("y", 3, 5, 2, 4))) == ["Transpose"]


def test_transpositions_that_undo_one_another_go(left):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Relu", "b", "y"),
    ]

    assert left(net(nodes, [value("x", "n", 3, 4, "w")], value("y", "n", 3, 4, "w"))) == ["Relu"]


def test_a_transposition_that_is_read_elsewhere_stays_for_that(left):
    nodes = [
        node("Transpose", "x", "a", perm=[1, 0]),
        node("Transpose", "a", "b", perm=[1, 0]),
        node("Relu", "b", "c"),
        node("MatMul", "a c", "y"),
    ]

    assert left(net(nodes, [value("x", 3, 4)], value("y", 4, 4))) == ["Transpose", "Relu", "MatMul"]


def test_a_transposition_of_sizes_of_one_is_a_reshape_to_the_reshape_behind_it(left):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Reshape", "a shape", "y"),
    ]

    assert left(net(nodes, [value("x", "n", 1, 1, 8)], value("y", "n", 8), shape=[-1, 8])) == ["Reshape"]
    whole = net(nodes, [value("x", "n", 2, 1, 4)], value("y", "n", 8), shape=[-1, 8])
    assert left(whole) == ["Transpose", "Reshape"]


def test_a_reshape_that_keeps_a_size_of_what_it_reads_needs_the_one_before(left):
    nodes = [node("Reshape", "x first", "a"), node("Reshape", "a second", "y")]
    model = net(nodes, [value("x", "n", 6)], value("y", "m", 2, 2), first=[-1, 4], second=[0, 2, 2])

    assert left(model) == ["Reshape", "Reshape"]


def test_a_list_of_sizes_that_is_made_a_list_again_is_taken_as_it_is(left):
    nodes = [
        node("Shape", "x", "n", start=0, end=1),
        node("Squeeze", "n", "number"),
        node("Reshape", "number one_list", "list"),
        node("Concat", "list rest", "target", axis=0),
        node("Reshape", "z target", "y"),
    ]
    inputs = [value("x", "n", 6), value("z", "n", 4, "k")]
    model = net(nodes, inputs, value("y", "n", "p", "q"), one_list=[-1], rest=[2, -1])

    assert left(model) == ["Shape", "Concat", "Reshape"]


def test_a_concatenation_within_another_is_a_part_of_it(left):
    nodes = [
        node("Shape", "x", "front", start=0, end=1),
        node("Shape", "x", "back", start=2, end=3),
        node("Concat", "back two", "end", axis=-1),
        node("Cast", "end", "same", to=TensorProto.INT64),
        node("Concat", "front same", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    model = net(nodes, [value("x", "n", 6, "k")], value("y", "n", "k", "m", "p"), two=[3, -1])

    assert left(model) == ["Shape", "Shape", "Concat", "Reshape"]


@pytest.mark.parametrize(
    ("axis", "outer"),
    [
        pytest.param(1, "a z", id="another axis"),
        pytest.param(0, "a x a", id="read twice"),
        pytest.param(0, "b a", id="read elsewhere"),
    ],
)
def test_a_concatenation_along_another_axis_or_with_other_readers_stays(left, axis, outer):
    nodes = [
        node("Concat", "x x", "a", axis=axis),
        node("Relu", "a", "b"),
        node("Concat", outer, "y", axis=0),
    ]
    model = net(nodes, [value("x", "n", 4), value("z", "n", 8)], value("y", "m", 8 if axis else 4))

    assert left(model).count("Concat") == 2


def test_what_is_added_or_multiplied_without_effect_goes(left):
    nodes = [
        node("Shape", "x", "s", start=0, end=1),
        node("Add", "zero s", "a"),
        node("Mul", "a one", "b"),
        node("Sub", "b zeros", "c"),
        node("Div", "c one", "d"),
        node("Expand", "z d", "e"),
        node("Mul", "e ones", "y"),
    ]
    constants = {"zero": 0, "one": 1, "zeros": [0], "ones": np.ones((1, 1), np.float32)}

    assert left(net(nodes, [value("x", "n", 3), value("z", 1)], value("y", "m", "k"), **constants)) == [
        "Shape",
        "Expand",
        "Mul",  # it makes a matrix of a list
    ]


def test_a_sum_with_zeros_that_enlarges_stays(left):
    nodes = [node("Relu", "x", "a"), node("Add", "a zeros", "b"), node("Relu", "b", "y")]
    zeros = np.zeros((1, 4), np.float32)

    assert left(net(nodes, [value("x", "n", 1)], value("y", "n", 4), zeros=zeros)) == ["Relu", "Add", "Relu"]
    assert left(net(nodes, [value("x", "n", 4)], value("y", "n", 4), zeros=zeros)) == ["Relu", "Relu"]


def test_sizes_that_are_picked_one_by_one_are_picked_together(left):
    """As exporters write x.reshape(n, 1, h, w): each size a number that is made a list of one."""
    nodes = [node("Relu", "x", "r")]
    for name in ("n", "h", "w"):
        nodes += [
            node("Shape", "r", f"{name}_shape"),
            node("Gather", f"{name}_shape {name}_at", name),
            node("Unsqueeze", f"{name} front", f"{name}_list"),
        ]
    nodes += [
        node("Concat", "n_list one h_list w_list", "target", axis=0),
        node("Reshape", "r target", "y"),
    ]
    constants = {"n_at": 0, "h_at": 2, "w_at": -1, "front": [0], "one": [-1]}
    model = net(nodes, [value("x", "n", 4, "h", "w")], value("y", "n", "c", "h", "w"), **constants)

    assert left(model) == ["Relu", "Shape", "Gather", "Gather", "Concat", "Reshape"]


def test_a_size_that_serves_as_a_number_too_is_picked_as_one(left):
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape at", "n"),
        node("Unsqueeze", "n front", "list"),
        node("Mul", "n two", "twice"),
        node("Unsqueeze", "twice front", "second"),
        node("Concat", "list second", "target", axis=0),
        node("Expand", "z target", "y"),
    ]
    inputs = [value("x", "n", 4), value("z", 1, 1)]
    model = net(nodes, inputs, value("y", "n", "m"), at=0, front=[0], two=2)

    assert left(model).count("Unsqueeze") == 2


@pytest.mark.parametrize(
    ("start", "end", "kinds"),
    [(0, 1, ["Gather"]), (2, 3, ["Gather"]), (-1, 2**62, ["Gather"]), (-2, -1, ["Gather"])],
)
def test_one_part_of_a_stack_is_picked_without_a_detour(left, start, end, kinds):
    nodes = [node("Slice", "x start end axis", "a"), node("Squeeze", "a axis", "y")]
    constants = {"start": [start], "end": [end], "axis": [0]}

    assert left(net(nodes, [value("x", 3, "n", 4)], value("y", "n", 4), **constants)) == kinds


def test_a_list_of_one_of_a_gather_along_another_dimension_stays(left):
    nodes = [node("Gather", "x at", "a", axis=1), node("Unsqueeze", "a front", "y")]

    assert left(net(nodes, [value("x", "n", 4, 5)], value("y", 1, "n", 5), at=2, front=[0])) == ["Gather", "Unsqueeze"]
