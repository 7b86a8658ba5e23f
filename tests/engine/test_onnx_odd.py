"""Odd ONNX models: every one comes back valid, with the same face, and computes the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from tests.engine.graph_models import OnnxBuilder, fuse_graph, net
from tests.engine.nets import norm

IMAGE = np.random.default_rng(4).normal(size=(2, 3, 11, 14)).astype(np.float32)


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def same(source, target, **feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    onnx.checker.check_model(onnx.load(target), full_check=True)
    sessions = [
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (source, target)
    ]
    before, after = (session.run(None, feeds) for session in sessions)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


def microsoft(builder, kind, *inputs, **attributes):
    name = builder.op(kind, *inputs, **attributes)
    builder.nodes[-1].domain = "com.microsoft"
    return name


def test_operators_of_a_runtime_are_islands_between_what_is_fused(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "first"), norm(4).eval(), "norm")
    weight = builder.weight("fused.weight", torch.randn(5, 4, 1, 1))
    x = microsoft(builder, "FusedConv", x, weight, activation="Relu", kernel_shape=[1, 1])
    x = microsoft(builder, "Gelu", x)
    x = builder.norm(builder.conv(x, nn.Conv2d(5, 4, 3), "last"), norm(4).eval(), "last_norm")
    domains = [helper.make_opsetid("com.microsoft", 1)]
    source = tmp_path / "runtime.onnx"
    model = builder.model({"image": ("n", 3, "h", "w")}, [x], domains=domains)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(x, TensorProto.FLOAT, ("n", 4, "a", "b")))
    onnx.save(model, source)
    report, target = fuse_graph(source)
    assert kinds(target) == ["Conv", "FusedConv", "Gelu", "Conv"]
    assert [part.code for part in report.refused] == ["operator-not-known"] * 2
    same(source, target, image=IMAGE)


def test_what_the_file_says_of_sizes_by_name_serves_behind_an_operator_that_is_not_read(tmp_path):
    builder = OnnxBuilder()
    x = builder.sequential("image", net()[:2])
    odd = microsoft(builder, "Mystery", x)
    x = builder.norm(builder.conv(odd, nn.Conv2d(8, 4, 1), "last"), norm(4).eval(), "last_norm")
    domains = [helper.make_opsetid("com.microsoft", 1)]
    model = builder.model({"image": ("batch", 3, 20, 28)}, [x], domains=domains)
    model.graph.value_info.append(helper.make_tensor_value_info(odd, TensorProto.FLOAT, ("batch", 8, 10, 14)))
    onnx.save(model, tmp_path / "named.onnx")
    _, target = fuse_graph(tmp_path / "named.onnx")
    assert kinds(target) == ["Conv", "Mystery", "Conv"]


def test_operators_in_any_order_are_put_in_one_that_can_run(tmp_path):
    builder = OnnxBuilder()
    output = builder.sequential("image", net()[:3])
    model = builder.model({"image": (2, 3, 11, 14)}, [output])
    turned = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(model.graph.node)]
    model.graph.ClearField("node")
    model.graph.node.extend(turned)
    onnx.save(model, tmp_path / "turned.onnx")
    _, target = fuse_graph(tmp_path / "turned.onnx")
    assert kinds(target) == ["Conv", "Relu"]
    same(tmp_path / "turned.onnx", target, image=IMAGE)


def test_a_norm_that_takes_the_statistics_of_its_input_is_told_so(tmp_path):
    builder = OnnxBuilder()
    last = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "conv"), norm(4).eval(), "norm")
    builder.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
    builder.nodes[-1].output.extend(["running_mean", "running_var"])
    onnx.save(builder.model({"image": (2, 3, 11, 14)}, [last]), tmp_path / "training.onnx")
    report, target = fuse_graph(tmp_path / "training.onnx")
    assert kinds(target) == ["Conv", "BatchNormalization"]
    assert [(part.path, part.code) for part in report.refused] == [
        ("batchnormalization1", "batch-norm-without-statistics")
    ]


def test_a_product_with_a_lone_vector_is_scaled(tmp_path):
    builder = OnnxBuilder()
    product = builder.op("MatMul", "x", builder.weight("weight", torch.randn(3, 4)))
    output = builder.op("Mul", product, builder.weight("scale", torch.rand(4)))
    onnx.save(builder.model({"x": (3,)}, [output]), tmp_path / "vector.onnx")
    _, target = fuse_graph(tmp_path / "vector.onnx")
    assert kinds(target) == ["MatMul"]
    same(tmp_path / "vector.onnx", target, x=IMAGE[0, :, 0, 0])


def test_a_norm_behind_weights_that_are_no_constants_is_told_so(tmp_path):
    builder = OnnxBuilder()
    scale, zero = builder.weight("scale", np.float32(0.02)), builder.weight("zero", np.int8(0))
    stored = builder.weight("weight", np.random.randint(-100, 100, (4, 3, 3, 3)).astype(np.int8))
    weight = builder.op("DequantizeLinear", stored, scale, zero)
    quantised = builder.norm(builder.op("Conv", "image", weight), norm(4).eval(), "norm")
    plain = builder.norm(builder.conv(quantised, nn.Conv2d(4, 4, 1), "conv"), norm(4).eval(), "last")
    source = tmp_path / "quantised.onnx"
    onnx.save(builder.model({"image": (2, 3, 11, 14)}, [builder.op("Relu", quantised), plain]), source)
    report, target = fuse_graph(source)
    assert kinds(target) == ["DequantizeLinear", "Conv", "BatchNormalization", "Conv", "Relu"]
    assert {part.code for part in report.refused} == {"weights-not-constant"}
    assert report.refused[0].reason == "Conv reads 'dequantizelinear0', which is no constant"
    same(source, target, image=IMAGE)


@pytest.mark.parametrize("dims", [(2, 3, 11, 14), ("n", 3, "h", "w")], ids=["fixed", "open"])
@pytest.mark.parametrize(
    "cut",
    [
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"pads": (0, 0, 1, 1)},
        {"pads": (0, 1, 2, 0), "output_padding": (1, 0)},
    ],
    ids=lambda cut: "-".join(map(str, cut)),
)
def test_a_transposed_convolution_that_is_cut_unevenly_takes_in_a_norm(cut, dims, tmp_path):
    builder = OnnxBuilder()
    weight = builder.weight("weight", torch.randn(3, 4, 3, 3))
    whole = builder.op("ConvTranspose", "image", weight, builder.weight("bias", torch.randn(4)), strides=(2, 2), **cut)
    source = tmp_path / "cut.onnx"
    onnx.save(builder.model({"image": dims}, [builder.norm(whole, norm(4).eval(), "norm")]), source)
    _, target = fuse_graph(source)
    assert kinds(target) == ["ConvTranspose"]
    same(source, target, image=IMAGE)
    same(source, target, **({"image": IMAGE[:1, :, :5, :3]} if "n" in dims else {"image": IMAGE * 1000}))


def test_concatenations_in_a_row_of_what_is_not_read_become_one(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", nn.Conv2d(3, 4, 3), "conv"), norm(4).eval(), "norm")
    odd = microsoft(builder, "Mystery", x)
    pair = builder.op("Concat", builder.op("Relu", odd), builder.op("Abs", odd), axis=1)
    x = builder.op("Concat", pair, builder.op("Sigmoid", odd), axis=1)
    domains = [helper.make_opsetid("com.microsoft", 1)]
    onnx.save(builder.model({"image": (2, 3, 11, 14)}, [x], domains=domains), tmp_path / "row.onnx")
    report, target = fuse_graph(tmp_path / "row.onnx")
    assert kinds(target) == ["Conv", "Mystery", "Relu", "Abs", "Sigmoid", "Concat"]
    assert report.summary.batch_norms_after == 0
