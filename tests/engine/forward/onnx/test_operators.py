"""Every operator as it is described here, beside onnxruntime and beside onnx's reference implementation."""

import numpy as np
import pytest
import torch

from tests.engine.forward.onnx.cases import CASES
from tests.engine.forward.onnx.models import run_onnxruntime, run_ours, run_reference

ALL = [
    pytest.param(one, id=f"{group}-{number}-{one.op}-{one.opset}")
    for group, cases in CASES.items()
    for number, one in enumerate(cases)
]


def assert_equal(ours, theirs, tolerance):
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        expected = np.asarray(theirs[name])
        assert tuple(tensor.shape) == expected.shape
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("one", ALL)
def test_an_operator_computes_what_onnxruntime_does(one):
    model, inputs = one.build()
    program, ours = run_ours(model, inputs, torch.float32)

    assert program.skipped == ()
    assert [type(node.operation).__name__ for node in program.graph.nodes] == (one.kinds or "").split()
    assert {node.owner for node in program.graph.nodes} <= {"out0"}
    theirs = run_onnxruntime(model, inputs) if one.runtime else run_reference(model, inputs, widen=False)
    assert_equal(ours, {name: theirs[name] for name in program.outputs}, 2e-5)
    for name, tensor in ours.items():
        assert tensor.numpy().dtype == theirs[name].dtype


@pytest.mark.parametrize("one", [param for param in ALL if param.values[0].reference])
def test_an_operator_in_float64_computes_what_the_reference_does(one):
    model, inputs = one.build()
    program, ours = run_ours(model, inputs, torch.float64)

    theirs = run_reference(model, inputs)
    assert_equal(ours, {name: theirs[name] for name in program.outputs}, one.reference)


@pytest.mark.parametrize("one", ALL)
def test_an_operator_keeps_the_precision_of_the_run(one):
    model, inputs = one.build()
    program, ours = run_ours(model, inputs, torch.float64)

    narrow = run_ours(model, inputs, None)[1]
    for name, tensor in ours.items():
        value = program.graph.outputs[0][program.outputs.index(name)]
        assert narrow[name].dtype == value.dtype
        assert tensor.dtype == (torch.float64 if value.dtype.is_floating_point else value.dtype)
        assert tuple(tensor.shape) == value.shape
