"""Graphs within ONNX operators (If, Loop, Scan): fused like any other, each proved alone, or left with a reason."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from app.engine.interpret import pending
from app.errors import AppError, NotEquivalent
from tests.engine.graph_models import OnnxBuilder, fuse_graph
from tests.engine.nets import norm

IMAGE = np.random.default_rng(5).normal(size=(2, 3, 11, 14)).astype(np.float32)


def run(path, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def same(source, target, **feeds):
    for one, other in zip(run(source, feeds), run(target, feeds), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


def bodies(path):
    """The kinds of operators in each graph within an operator, by the attribute's name."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = ((one.name, one.g) for node in model.graph.node for one in node.attribute if one.HasField("g"))
    return {name: [node.op_type for node in graph.node] for name, graph in found}


def weights(path):
    return {tensor.name for tensor in onnx.load(path).graph.initializer}


class Inner(OnnxBuilder):
    """A graph within: its values have names that nothing around it has."""

    def __init__(self, prefix):
        super().__init__()
        self.prefix = prefix

    def op(self, kind, *inputs, **attributes):
        name = f"{self.prefix}_{super().op(kind, *inputs, **attributes)}"
        self.nodes[-1].output[0] = name
        return name

    def graph(self, outputs, inputs=()):
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        return helper.make_graph(self.nodes, self.prefix, list(inputs), infos, self.initializers)


def branch(prefix, x, channels=4):
    inner = Inner(prefix)
    return inner, inner.norm(inner.conv(x, nn.Conv2d(channels, 4, 3), prefix), norm(4).eval(), f"{prefix}_norm")


def choice(builder, then, other, tmp_path):
    builder.nodes.append(helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other))
    model = builder.model({"image": ("n", 3, "h", "w"), "flag": ()}, ["y"], {"flag": TensorProto.BOOL})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 4, "a", "b")))
    onnx.save(model, tmp_path / "choice.onnx")
    return tmp_path / "choice.onnx"


def test_both_branches_are_fused_and_what_lies_before_them(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "first"), norm(4).eval(), "norm")
    (then, one), (other, two) = branch("then", x), branch("other", x)
    source = choice(builder, then.graph([one]), other.graph([two]), tmp_path)
    report, target = fuse_graph(source)
    assert bodies(target) == {"then_branch": ["Conv"], "else_branch": ["Conv"]}
    assert sorted(part.path for part in report.replaced)[-2:] == ["y/0/other_conv0", "y/1/then_conv0"]
    assert not report.refused
    assert (report.summary.batch_norms_before, report.summary.batch_norms_after) == (3, 0)
    assert report.summary.parameters_after == report.summary.parameters_before - 3 * 16
    assert all(part.error.identity < 1e-11 for part in report.replaced)
    for flag in (True, False):
        same(source, target, image=IMAGE, flag=np.array(flag))
    assert not fuse_graph(target)[0].replaced


def test_a_weight_of_the_graph_around_goes_with_the_only_body_that_reads_it(tmp_path):
    builder = OnnxBuilder()
    builder.weight("around", torch.randn(4, 3, 3, 3))
    builder.weight("shared", torch.randn(4, 3, 3, 3))
    then, other = Inner("then"), Inner("other")
    one = then.norm(then.op("Conv", "image", "around"), norm(4).eval(), "then_norm")
    two = other.norm(other.op("Conv", "image", "shared"), norm(4).eval(), "other_norm")
    builder.nodes.append(helper.make_node("Conv", ["image", "shared"], ["also"]))
    then.nodes.append(helper.make_node("ReduceMean", ["also"], ["mean"], keepdims=1))
    last = then.op("Add", one, "mean")
    source = choice(builder, then.graph([last]), other.graph([two]), tmp_path)
    report, target = fuse_graph(source)
    assert bodies(target)["then_branch"].count("BatchNormalization") == 0
    assert bodies(target)["else_branch"] == ["Conv", "BatchNormalization"]
    assert weights(target) == {"shared"}
    assert {part.code for part in report.refused} == {"weights-not-constant"}
    for flag in (True, False):
        same(source, target, image=IMAGE, flag=np.array(flag))


def test_a_loop_and_a_scan_are_fused_within(tmp_path):
    builder = OnnxBuilder()
    inner = Inner("inner")
    conv = nn.Conv2d(3, 3, 3, padding=1)
    state = inner.norm(inner.conv("state", conv, "conv"), norm(3).eval(), "inner_norm")
    inner.nodes.append(helper.make_node("Identity", ["going"], ["goes_on"]))
    body = inner.graph([state])
    for name, kind, dims in (("round", TensorProto.INT64, ()), ("going", TensorProto.BOOL, ())):
        body.input.append(helper.make_tensor_value_info(name, kind, dims))
    body.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, None))
    body.output.insert(0, helper.make_tensor_value_info("goes_on", TensorProto.BOOL, ()))
    builder.nodes.append(helper.make_node("Loop", ["count", "", "image"], ["looped"], body=body))
    builder.initializers.append(helper.make_tensor("count", TensorProto.INT64, (), [3]))
    step = Inner("step")
    product = step.op("MatMul", "row", step.weight("step.weight", torch.randn(3, 4)))
    moved = step.op("Add", product, step.weight("step.bias", torch.randn(4)))
    scaled = step.op("Mul", moved, step.weight("step.scale", torch.rand(4)))
    scan = step.graph([scaled], [helper.make_tensor_value_info("row", TensorProto.FLOAT, (2, 3))])
    builder.nodes.append(helper.make_node("Scan", ["rows"], ["scanned"], body=scan, num_scan_inputs=1))
    model = builder.model({"image": (2, 3, 11, 14), "rows": (5, 2, 3)}, ["looped", "scanned"])
    for output, shape in zip(model.graph.output, ((2, 3, 11, 14), (5, 2, 4)), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))
    onnx.save(model, source := tmp_path / "loop.onnx")
    _, target = fuse_graph(source)
    graphs = [node.attribute[0].g for node in onnx.load(target).graph.node]
    found = [[node.op_type for node in graph.node] for graph in graphs]
    assert found == [["Conv", "Identity"], ["Gemm"]]
    onnx.checker.check_model(onnx.load(target), full_check=True)
    same(source, target, image=IMAGE, rows=np.random.randn(5, 2, 3).astype(np.float32))


def test_new_names_within_are_none_that_mean_something_around(tmp_path):
    builder = OnnxBuilder()
    first = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "then_norm.weight_1"), norm(4).eval(), "norm")
    (then, one), (other, two) = branch("then", first), branch("other", first)
    source = choice(builder, then.graph([one]), other.graph([two]), tmp_path)
    _, target = fuse_graph(source)
    model = onnx.load(target)
    around = weights(target) | {name for node in model.graph.node for name in node.output}
    for one in model.graph.node[-1].attribute:
        assert not around & {tensor.name for tensor in one.g.initializer}
    same(source, target, image=IMAGE, flag=np.array(True))


def test_a_body_within_a_body_is_left_and_told_of(tmp_path):
    builder = OnnxBuilder()
    (deep, one), (flat, two) = branch("deep", "image", 3), branch("flat", "image", 3)
    outer = Inner("outer")
    branches = {"then_branch": deep.graph([one]), "else_branch": flat.graph([two])}
    outer.nodes.append(helper.make_node("If", ["flag"], ["z"], **branches))
    other, three = branch("other", "image", 3)
    source = choice(builder, outer.graph(["z"]), other.graph([three]), tmp_path)
    report, target = fuse_graph(source)
    assert bodies(target)["else_branch"] == ["Conv"]
    told = {part.path.rpartition("/")[2]: part.code for part in report.refused}
    assert told == {"deep_batchnormalization1": "within-a-body", "flat_batchnormalization1": "within-a-body"}
    for flag in (True, False):
        same(source, target, image=IMAGE, flag=np.array(flag))


def test_wrong_weights_within_a_branch_that_the_probe_does_not_take_are_caught(tmp_path, monkeypatch):
    builder = OnnxBuilder()
    (then, one), (other, two) = branch("then", "image", 3), branch("other", "image", 3)
    source = choice(builder, then.graph([one]), other.graph([two]), tmp_path)
    right = pending.Pending.rounded

    def wrong(self, dtype):
        rounded = right(self, dtype)
        within = any(node.owner.startswith("other") for node in self.nodes)
        return rounded._replace(weight=rounded.weight * (1 + 1e-5)) if within else rounded

    monkeypatch.setattr(pending.Pending, "rounded", wrong)
    with pytest.raises(NotEquivalent):
        fuse_graph(source)
    assert not (tmp_path / "fused.choice.onnx").exists()


def test_a_branch_that_can_not_run_ends_in_an_error_with_a_name(tmp_path):
    builder = OnnxBuilder()
    (then, one), (other, two) = branch("then", "image", 3), branch("other", "image", 3)
    then.nodes[1].input[3] = ""
    source = choice(builder, then.graph([one]), other.graph([two]), tmp_path)
    with pytest.raises(AppError, match="can't be run"):
        fuse_graph(source)
