"""Initializers of ONNX models that are inputs as well: constants before ir_version 4, defaults from then on."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from app.engine.pipeline import inspect_checkpoint
from app.errors import InvalidOption
from tests.engine import nets
from tests.engine.graph_models import OnnxBuilder, export, fuse_graph, net
from tests.engine.nets import norm

IMAGE = np.random.default_rng(1).normal(size=(2, 3, 20, 28)).astype(np.float32)


def saved(builder, outputs, path, listed=None, ir_version=8, inputs=None):
    """The model with initializers among its inputs: those listed, else all."""
    model = builder.model(inputs or {"image": ("n", 3, "h", "w")}, outputs)
    model.ir_version = ir_version
    for tensor in model.graph.initializer:
        if listed is None or tensor.name in listed:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def session(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def same(source, target, **feeds):
    feeds = {"image": IMAGE, **feeds}
    for one, other in zip(session(source).run(None, feeds), session(target).run(None, feeds), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def weights(path):
    return {tensor.name for tensor in onnx.load(path).graph.initializer}


def names(path):
    return [value.name for value in onnx.load(path).graph.input]


def chain(path, listed=None, ir_version=8):
    builder = OnnxBuilder(11)
    return saved(builder, [builder.sequential("image", net())], path, listed, ir_version)


def test_what_a_caller_may_override_stays_so_and_what_reads_it_stays(tmp_path):
    source = chain(tmp_path / "net.onnx", ["0.weight", "6.bias"])
    report, target = fuse_graph(source)
    assert names(target) == names(source)
    assert kinds(target) == ["Conv", "BatchNormalization", "Relu", "Conv", "Relu", "BatchNormalization", "Conv"]
    other = {"0.weight": np.random.randn(8, 3, 3, 3).astype(np.float32), "6.bias": np.full(8, 3, np.float32)}
    same(source, target)
    same(source, target, **other)
    changed = [session(target).run(None, {"image": IMAGE, **feed})[0] for feed in ({}, other)]
    assert np.abs(changed[0] - changed[1]).max() > 0.1
    withheld = [part for part in report.refused if part.code == "overridable-default"]
    assert [part.path for part in withheld] == ["batchnormalization1", "conv0", "batchnormalization6"]
    assert withheld[0].reason == withheld[1].reason
    assert "'0.weight'" in withheld[0].reason
    assert "overridable=fold" in withheld[0].reason
    assert any(note.startswith("2 initializers are inputs as well") for note in report.notes)


def test_an_export_that_lists_every_weight_is_fused_where_the_caller_says_that_they_are_constants(tmp_path):
    source = chain(tmp_path / "net.onnx")
    left, untouched = fuse_graph(source)
    assert names(untouched) == names(source)
    assert not left.replaced
    report, target = fuse_graph(source, overridable="fold")
    onnx.checker.check_model(onnx.load(target), full_check=True)
    assert kinds(target) == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    assert names(target) == ["image"]
    assert not [part for part in report.refused if part.code == "overridable-default"]
    (note,) = [note for note in report.notes if "initializers" in note]
    assert note.startswith(f"{len(names(source)) - 1} initializers that were inputs as well are constants now")
    same(source, target)


def clipped(path):
    builder = OnnxBuilder(13)
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "first"), norm(4).eval(), "norm")
    low, high = builder.weight("low", np.float32(-0.2)), builder.weight("high", np.float32(0.3))
    return saved(builder, [builder.conv(builder.op("Clip", x, low, high), nn.Conv2d(4, 2, 1), "last")], path)


def test_a_default_that_nothing_was_made_of_can_still_be_overridden(tmp_path):
    source = clipped(tmp_path / "clip.onnx")
    _, target = fuse_graph(source, overridable="fold")
    assert names(target) == ["image", "low", "high", "last.weight", "last.bias"]
    assert kinds(target) == ["Conv", "Clip", "Conv"]
    same(source, target)
    bounds = {"low": np.float32([-0.01]), "high": np.float32([5])}
    same(source, target, **bounds, **{"last.bias": np.float32([7, 8])})


def test_a_default_that_is_read_in_two_places_is_no_input_once_it_is_folded_in_one(tmp_path):
    builder = OnnxBuilder()
    weight = builder.weight("weight", torch.randn(3, 3, 1, 1))
    folded = builder.norm(builder.op("Conv", "image", weight), norm(3).eval(), "norm")
    alone = builder.op("Conv", builder.op("Relu", folded), weight)
    source = saved(builder, [folded, alone], tmp_path / "twice.onnx", ["weight"])
    report, target = fuse_graph(source, overridable="fold")
    assert len(report.replaced) == 1
    assert weights(target) > {"weight"}
    assert names(target) == ["image"]
    same(source, target)


def test_a_shape_that_a_caller_may_override_is_followed_at_its_default_and_kept(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "first"), norm(4).eval(), "norm")
    flat = builder.op("Reshape", x, builder.weight("shape", np.array([0, -1])))
    again = builder.op("Reshape", flat, builder.weight("again", np.array([2, -1, 3])))
    source = saved(builder, [again], tmp_path / "shape.onnx", ["shape", "again"], inputs={"image": (2, 3, 20, 28)})
    report, target = fuse_graph(source)
    assert kinds(target) == ["Conv", "Reshape", "Reshape"]
    assert not report.refused
    same(source, target)
    same(source, target, shape=np.array([4, -1]), again=np.array([0, -1, 2]))


def test_a_default_that_nobody_reads_stays_an_input(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "first"), norm(4).eval(), "norm")
    builder.weight("unused", np.float32([1, 2]))
    source = saved(builder, [x], tmp_path / "unused.onnx", ["unused"])
    _, target = fuse_graph(source)
    assert kinds(target) == ["Conv"]
    assert names(target) == ["image", "unused"]
    same(source, target, unused=np.float32([3, 4]))


def test_what_is_computed_from_a_default_follows_it(tmp_path):
    builder = OnnxBuilder()
    weight = builder.op("Mul", builder.weight("weight", torch.randn(4, 3, 1, 1)), builder.weight("two", np.float32(2)))
    x = builder.norm(builder.op("Conv", "image", weight), norm(4).eval(), "norm")
    source = saved(builder, [x], tmp_path / "computed.onnx", ["weight"])
    report, target = fuse_graph(source)
    assert kinds(target) == ["Mul", "Conv", "BatchNormalization"]
    assert {part.path: part.code for part in report.refused} == dict.fromkeys(
        ["batchnormalization2", "conv1"], "overridable-default"
    )
    same(source, target, weight=np.random.randn(4, 3, 1, 1).astype(np.float32))
    assert kinds(fuse_graph(source, overridable="fold")[1]) == ["Conv"]


def test_before_ir_version_4_all_initializers_are_inputs_and_none_can_be_overridden(tmp_path):
    builder = OnnxBuilder(11)
    y = builder.sequential("image", net()[:2])
    joined = builder.op("Mul", y, "gain")
    inputs = {"image": (2, 3, 20, 28), "gain": (1, 8, 1, 1)}
    source = saved(builder, [joined], tmp_path / "old.onnx", None, 3, inputs)
    before = onnx.load(source)
    report, target = fuse_graph(source)
    after = onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    assert (after.ir_version, kinds(target)) == (3, ["Conv", "Mul"])
    assert [value.name for value in after.graph.input][:2] == ["image", "gain"]
    assert list(after.graph.input)[:2] == list(before.graph.input)[:2]
    assert {tensor.name for tensor in after.graph.initializer} == {value.name for value in after.graph.input[2:]}
    assert not any("initializers" in note for note in report.notes)
    same(source, target, gain=np.random.randn(1, 8, 1, 1).astype(np.float32))


def test_an_inspection_counts_what_a_caller_may_override(tmp_path):
    found = inspect_checkpoint(chain(tmp_path / "net.onnx", ["0.weight"]), filename="net.onnx")
    assert found.notes[0].startswith("1 initializers are inputs as well (0.weight)")


def test_other_files_have_no_such_defaults(tmp_path):
    with pytest.raises(InvalidOption, match="overridable"):
        nets.fuse(net(), tmp_path, overridable="fold")
    with pytest.raises(InvalidOption, match="overridable"):
        fuse_graph(export(net(), tmp_path / "net.pt2", torch.randn(2, 3, 20, 28)), overridable="fold")


def test_an_integer_input_beside_a_default_is_told_apart(tmp_path):
    builder = OnnxBuilder()
    table = builder.op("Gather", builder.weight("table", torch.randn(11, 6)), "ids")
    out = builder.op("Mul", builder.op("MatMul", table, builder.weight("up", torch.randn(6, 4))), "gain")
    builder.weight("gain", np.float32([2, 3, 4, 5]))
    model = builder.model({"ids": ("n",)}, [out], {"ids": TensorProto.INT64})
    model.graph.input.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, (11, 6)))
    onnx.save(model, source := tmp_path / "ids.onnx")
    report, target = fuse_graph(source)
    assert kinds(target) == ["Gather", "MatMul"]
    feeds = {"ids": np.array([3, 1]), "table": np.random.randn(11, 6).astype(np.float32)}
    np.testing.assert_allclose(session(target).run(None, feeds)[0], session(source).run(None, feeds)[0], rtol=1e-4)
    assert report.equivalence.probe.shape == ((2,),)
