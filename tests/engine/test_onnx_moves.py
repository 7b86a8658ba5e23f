"""Norms that stand apart from a convolution: they go through what they commute with, and stay where they do not."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.engine.graph_models import OnnxBuilder, fuse_graph
from tests.engine.nets import norm

IMAGE = np.random.default_rng(2).normal(size=(2, 3, 12, 16)).astype(np.float32)


def run(path, image):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def fused(builder, outputs, tmp_path, size=(2, 3, 12, 16), image=IMAGE):
    """The kinds of operators that are left, and the report; what was written is valid and computes the same."""
    source = tmp_path / "model.onnx"
    model = builder.model({"image": size}, outputs)
    onnx.save(model, source)
    report, target = fuse_graph(source)
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    assert list(written.graph.input) == list(model.graph.input)
    assert [value.name for value in written.graph.output] == outputs
    for one, other in zip(run(source, image), run(target, image), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))
    assert not fuse_graph(target)[0].replaced
    return kinds(target), report


def positive(channels):
    layer = norm(channels).eval()
    nn.init.uniform_(layer.weight, 0.5, 2)
    return layer


def conv(builder, x, inner, out, name="conv", **options):
    return builder.conv(x, nn.Conv2d(inner, out, 3, padding=1, **options), name)


def resized(builder, x, mode="nearest", turn="asymmetric"):
    scales = builder.weight(f"scales{len(builder.nodes)}", np.float32([1, 1, 2, 1.5]))
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    return builder.op("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=turn, **extra)


def ints(builder, *numbers):
    return builder.weight(f"numbers{len(builder.initializers)}", np.int64(numbers))


PASSED = {
    "nearest": lambda b, x: resized(b, x),
    "linear": lambda b, x: resized(b, x, "linear", "half_pixel"),
    "cubic": lambda b, x: resized(b, x, "cubic", "align_corners"),
    "whole mean": lambda b, x: b.op("GlobalAveragePool", x),
    "mean over places": lambda b, x: b.op("ReduceMean", x, axes=[2, 3], keepdims=0),
    "mean over rows": lambda b, x: b.op("ReduceMean", x, axes=[2], keepdims=1),
    "average": lambda b, x: b.op("AveragePool", x, kernel_shape=[3, 2], strides=[2, 2]),
    "average of what is there": lambda b, x: b.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 0, 1]),
    "average of what is there, rounded up": lambda b, x: b.op(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1
    ),
    "reflection": lambda b, x: b.op("Pad", x, ints(b, 0, 0, 1, 2, 0, 0, 0, 1), mode="reflect"),
    "crop": lambda b, x: b.op(
        "Slice",
        x,
        b.weight("from", np.int64([1, 2])),
        b.weight("to", np.int64([9, 9])),
        b.weight("axes", np.int64([2, 3])),
    ),
    "unsqueezed": lambda b, x: b.op(
        "Squeeze", b.op("Unsqueeze", x, b.weight("at", np.int64([4]))), b.weight("at2", np.int64([4]))
    ),
}


@pytest.mark.parametrize("name", PASSED)
def test_a_norm_goes_before_what_it_commutes_with(name, tmp_path):
    builder = OnnxBuilder()
    inner = PASSED[name](builder, conv(builder, "image", 3, 4))
    left, report = fused(builder, [builder.op("Sigmoid", builder.norm(inner, norm(4).eval(), "norm"))], tmp_path)
    assert "BatchNormalization" not in left
    assert left[0] == "Conv"
    assert left[-1] == "Sigmoid"
    assert report.summary.batch_norms_after == 0


@pytest.mark.parametrize("name", ["nearest", "whole mean", "mean over places"])
def test_a_norm_goes_there_at_any_size(name, tmp_path):
    builder = OnnxBuilder()
    inner = PASSED[name](builder, conv(builder, "image", 3, 4))
    left, _ = fused(builder, [builder.norm(inner, norm(4).eval(), "norm")], tmp_path, ("n", 3, "h", "w"))
    assert len(left) == 2


ORDERED = {
    "largest": lambda b, x: b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "largest, rounded up": lambda b, x: b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "largest of all": lambda b, x: b.op("GlobalMaxPool", x),
    "smallest over places": lambda b, x: b.op("ReduceMin", x, axes=[3], keepdims=1),
}


@pytest.mark.parametrize("name", ORDERED)
def test_a_norm_passes_the_largest_where_its_scale_is_above_zero(name, tmp_path):
    for layer, stays in ((positive(4), False), (norm(4).eval(), True)):
        nn.init.constant_(layer.weight[1:2] if stays else layer.weight[:0], -0.5)
        builder = OnnxBuilder()
        inner = ORDERED[name](builder, conv(builder, "image", 3, 4))
        left, _ = fused(builder, [builder.norm(inner, layer, "norm")], tmp_path)
        assert ("BatchNormalization" in left) == stays


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Abs", "PRelu"])
def test_a_scale_above_zero_passes_what_bends_at_zero_and_a_shift_does_not(name, tmp_path):
    for shifted in (False, True):
        builder = OnnxBuilder()
        extra = [builder.weight("slope", torch.rand(4, 1, 1))] if name == "PRelu" else []
        bent = builder.op(name, conv(builder, "image", 3, 4), *extra)
        scaled = builder.op("Mul", bent, builder.weight("scale", torch.rand(4, 1, 1) + 0.5))
        shift = builder.weight("shift", torch.rand(4, 1, 1))
        output = builder.op("Add", scaled, shift) if shifted else scaled
        left, _ = fused(builder, [builder.op("Sigmoid", output)], tmp_path)
        assert left == (["Conv", name, "Mul", "Add", "Sigmoid"] if shifted else ["Conv", name, "Sigmoid"])


def test_zeros_of_the_border_are_not_shifted(tmp_path):
    builder = OnnxBuilder()
    pool = builder.op(
        "AveragePool", conv(builder, "image", 3, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    )
    left, _ = fused(builder, [builder.norm(pool, norm(4).eval(), "norm")], tmp_path)
    assert left == ["Conv", "AveragePool", "BatchNormalization"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_a_norm_behind_pixels_that_were_channels_is_copied_to_these(mode, tmp_path):
    builder = OnnxBuilder()
    wide = builder.op("DepthToSpace", conv(builder, "image", 3, 12), blocksize=2, mode=mode)
    left, _ = fused(builder, [builder.norm(wide, norm(3).eval(), "norm")], tmp_path)
    assert left == ["Conv", "DepthToSpace"]


def test_a_norm_before_pixels_that_become_channels_goes_behind_them(tmp_path):
    builder = OnnxBuilder()
    deep = builder.op("SpaceToDepth", builder.norm("image", norm(3).eval(), "norm"), blocksize=2)
    left, _ = fused(builder, [builder.conv(deep, nn.Conv2d(12, 4, 3), "conv")], tmp_path)
    assert left == ["SpaceToDepth", "Conv"]


def test_arithmetic_on_an_image_with_channels_last_goes_into_the_convolution(tmp_path):
    builder = OnnxBuilder()
    centred = builder.op("Sub", "image", builder.weight("mean", torch.rand(3)))
    scaled = builder.op("Div", centred, builder.weight("std", torch.rand(3) + 0.2))
    first = builder.op("Transpose", scaled, perm=[0, 3, 1, 2])
    behind = builder.op("Transpose", builder.conv(first, nn.Conv2d(3, 4, 3), "conv"), perm=[0, 2, 3, 1])
    output = builder.op("Add", builder.op("Mul", behind, builder.weight("gain", torch.rand(4))), "offset")
    builder.weight("offset", torch.rand(4))
    size, image = ("n", "h", "w", 3), np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1))
    left, _ = fused(builder, [output], tmp_path, size, image)
    assert left == ["Transpose", "Conv", "Transpose"]


@pytest.mark.parametrize("flat", ["Flatten", "Reshape", "minus one"])
def test_a_norm_before_features_goes_into_the_linear_behind_them(flat, tmp_path):
    builder = OnnxBuilder()
    normed = builder.norm("image", norm(3).eval(), "norm")
    targets = {"Reshape": [0, -1], "minus one": [-1, 3 * 12 * 16]}
    shape = [builder.weight("shape", np.int64(targets[flat]))] if flat in targets else []
    features = builder.op("Reshape" if shape else "Flatten", normed, *shape)
    weight = builder.weight("weight", torch.randn(5, 3 * 12 * 16) / 8)
    output = builder.op("Gemm", features, weight, builder.weight("bias", torch.randn(5)), transB=1)
    left, _ = fused(builder, [output], tmp_path)
    assert left == ["Reshape" if shape else "Flatten", "Gemm"]


def test_a_norm_goes_through_a_concatenation_and_through_what_lies_before_it(tmp_path):
    builder = OnnxBuilder()
    small = builder.op("MaxPool", conv(builder, "image", 3, 4, "small", stride=2), kernel_shape=[1, 1])
    large = builder.op("AveragePool", conv(builder, "image", 3, 5, "large"), kernel_shape=[2, 2], strides=[2, 2])
    joined = builder.op("Concat", resized(builder, small), resized(builder, large), axis=1)
    left, report = fused(builder, [builder.op("Relu", builder.norm(joined, positive(9), "norm"))], tmp_path)
    assert sorted(left) == ["AveragePool", "Concat", "Conv", "Conv", "MaxPool", "Relu", "Resize", "Resize"]
    assert report.summary.batch_norms_after == 0


def test_a_norm_that_two_pools_read_goes_into_the_convolutions_behind_both(tmp_path):
    builder = OnnxBuilder()
    normed = builder.norm(builder.op("Sigmoid", "image"), positive(3), "norm")
    largest = builder.op("MaxPool", normed, kernel_shape=[2, 2])
    mean = builder.op("GlobalAveragePool", normed)
    outputs = [builder.conv(x, nn.Conv2d(3, 4, 1), name) for x, name in ((largest, "a"), (mean, "b"))]
    left, _ = fused(builder, outputs, tmp_path)
    assert sorted(left) == ["Conv", "Conv", "GlobalAveragePool", "MaxPool", "Sigmoid"]


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_value_whose_size_is_asked_for_stays_what_it_is(place, tmp_path):
    builder = OnnxBuilder()
    inner = conv(builder, "image", 3, 4)
    large = resized(builder, inner)
    asked = builder.op("Cast", builder.op("Shape", inner if place == "before" else large), to=1)
    left, _ = fused(
        builder,
        [builder.op("Sigmoid", builder.norm(large, norm(4).eval(), "norm")), asked],
        tmp_path,
        ("n", 3, "h", "w"),
    )
    assert "BatchNormalization" in left


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_an_output_that_is_read_before_it_is_resized_keeps_its_numbers(mode, tmp_path):
    builder = OnnxBuilder()
    inner = conv(builder, "image", 3, 4)
    large = builder.norm(resized(builder, inner, mode), norm(4).eval(), "norm")
    left, _ = fused(builder, [large, inner], tmp_path)
    assert left == ["Conv", "Resize", "BatchNormalization"]


def test_of_a_lone_scale_shift_and_scale_two_operators_are_left(tmp_path):
    builder = OnnxBuilder()
    first = builder.op("Mul", builder.op("Sigmoid", "image"), builder.weight("a", torch.rand(3, 1, 1) + 0.5))
    moved = builder.op("Add", first, builder.weight("b", torch.rand(3, 1, 1)))
    last = builder.op("Mul", moved, builder.weight("c", torch.rand(3, 1, 1) + 0.5))
    left, report = fused(builder, [builder.op("Sigmoid", last)], tmp_path)
    assert left == ["Sigmoid", "Mul", "Add", "Sigmoid"]
    assert (report.summary.parameters_before, report.summary.parameters_after) == (9, 6)


def test_a_vector_that_a_lone_stretch_reads_twice_counts_once(tmp_path):
    builder = OnnxBuilder()
    x = builder.op("Sigmoid", "image")
    scale, shift = builder.weight("a", torch.rand(3, 1, 1) + 0.5), builder.weight("b", torch.rand(3, 1, 1))
    for _ in range(2):
        x = builder.op("Add", builder.op("Mul", x, scale), shift)
    left, report = fused(builder, [builder.op("Sigmoid", x)], tmp_path)
    assert left == ["Sigmoid", "Mul", "Add", "Sigmoid"]
    assert report.summary.parameters_after <= report.summary.parameters_before


def test_one_number_for_all_channels_stays_one_number(tmp_path):
    builder = OnnxBuilder()
    x = builder.op("Mul", builder.op("Sigmoid", "image"), builder.weight("two", np.float32(2)))
    x = builder.op("Add", x, builder.weight("shift", torch.rand(3, 1, 1)))
    x = builder.op("Mul", x, builder.weight("three", np.float32(3)))
    left, report = fused(builder, [builder.op("Sigmoid", x)], tmp_path)
    assert left == ["Sigmoid", "Mul", "Add", "Sigmoid"]
    assert (report.summary.parameters_before, report.summary.parameters_after) == (5, 4)


@pytest.mark.parametrize("norm_last", [True, False], ids=["norm", "nothing"])
def test_sizes_that_are_the_same_for_every_batch_are_asked_of_nobody(norm_last, tmp_path):
    """As segmentation heads resize to another branch: the batch is open, height and width are not."""
    builder = OnnxBuilder()
    inner = builder.norm(conv(builder, "image", 3, 4), norm(4).eval(), "first")
    like = builder.conv(inner, nn.Conv2d(4, 5, 3, stride=2), "low")
    low = builder.norm(like, norm(5).eval(), "second") if norm_last else like
    deep = builder.op("MaxPool", builder.op("Relu", low), kernel_shape=[2, 2], strides=[2, 2])
    start, two, four = (ints(builder, at) for at in (0, 2, 4))
    batch_and_channels = builder.op("Slice", builder.op("Shape", deep), start, two, start)
    places = builder.op("Slice", builder.op("Shape", low), two, four, start)
    size = builder.op("Concat", batch_and_channels, places, axis=0)
    large = builder.op("Resize", deep, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    last = [builder.conv(x, nn.Conv2d(5, 3, 1), name) for x, name in ((low, "a"), (large, "b"))]
    left, report = fused(builder, [builder.op("Add", *last)], tmp_path, ("n", 3, 12, 16))
    assert left.count("Shape") == 1
    assert "BatchNormalization" not in left
    assert report.equivalence.passed
