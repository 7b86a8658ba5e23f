"""Graph files from end to end: ONNX and torch.export programs in, fused ones out, run by their own runtimes."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from app.engine import fuse, programs
from app.engine.formats.onnx import rewrite
from app.engine.fuse.programs import plan_program
from app.engine.interpret import pending
from app.engine.pipeline import inspect_checkpoint
from app.errors import AppError, InvalidOption, NotEquivalent
from tests.engine import nets
from tests.engine.graph_models import OnnxBuilder, export, fuse_graph, net, onnx_net
from tests.engine.nets import norm

IMAGE = torch.randn(2, 3, 20, 28)


def run_onnx(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def close(got, wanted, scale=1.0):
    wanted = wanted.detach().numpy() if isinstance(wanted, torch.Tensor) else wanted
    np.testing.assert_allclose(got, wanted, rtol=1e-4 * scale, atol=1e-5 * scale * max(1.0, np.abs(wanted).max()))


def test_one_network_gives_the_same_weights_as_module_onnx_model_and_exported_program(tmp_path):
    torch.manual_seed(3)
    model = net()
    module = nets.fuse(model, tmp_path).loaded
    _, fused_onnx = fuse_graph(onnx_net(model, tmp_path / "net.onnx"))
    _, fused_pt2 = fuse_graph(export(model, tmp_path / "net.pt2", IMAGE))
    weights = [[layer.weight, layer.bias] for layer in module if isinstance(layer, nn.Conv2d)]
    named = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(fused_onnx).graph.initializer}
    program = torch.export.load(fused_pt2).state_dict
    for name, (weight, bias) in zip(("0", "3", "7"), weights, strict=True):
        assert np.array_equal(named[f"{name}.weight"], weight.numpy())
        assert torch.equal(program[f"{name}.weight"], weight)
        assert torch.equal(program[f"{name}.bias"], bias)
    biases = [node.input[2] for node in onnx.load(fused_onnx).graph.node if node.op_type == "Conv"]
    assert all(np.array_equal(named[name], bias.numpy()) for name, (_, bias) in zip(biases, weights, strict=True))


def test_an_onnx_model_keeps_its_face_and_runs(tmp_path):
    model = net()
    report, target = fuse_graph(onnx_net(model, tmp_path / "net.onnx"))
    before, after = onnx.load(tmp_path / "net.onnx"), onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    assert kinds(target) == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.metadata_props == before.metadata_props
    assert after.opset_import == before.opset_import
    assert (after.ir_version, after.producer_name) == (before.ir_version, before.producer_name)
    for shape in ((2, 3, 20, 28), (1, 3, 33, 17)):
        x = torch.randn(shape)
        close(run_onnx(target, image=x)[0], model(x))
    assert report.equivalence.scope == "model"
    assert report.equivalence.identity.relative < 1e-11
    assert report.output.filename == "net.fused.onnx"
    assert (report.summary.operators_before, report.summary.operators_after) == (8, 5)
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_second_pass_changes_nothing_and_the_bytes_are_the_same_again(kind, tmp_path):
    model = net()
    source = tmp_path / f"net.{kind}"
    _ = onnx_net(model, source) if kind == "onnx" else export(model, source, IMAGE)
    _, target = fuse_graph(source)
    first = target.read_bytes()
    assert fuse_graph(source)[1].read_bytes() == first
    again, second = fuse_graph(target)
    assert not again.replaced
    assert again.notes[0].startswith("nothing to replace")
    assert kind == "pt2" or second.read_bytes() == first


def test_an_exported_program_keeps_its_sizes_open_and_runs(tmp_path):
    model = net()
    report, target = fuse_graph(export(model, tmp_path / "net.pt2", IMAGE))
    program = torch.export.load(target)
    names = [node.target.__name__ for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["conv2d.default", "relu.default"] * 2 + ["conv2d.default"]
    for shape in ((2, 3, 20, 28), (3, 3, 33, 17)):
        x = torch.randn(shape)
        close(program.module()(x).detach().numpy(), model(x))
    assert report.equivalence.native.dtype == "float32"


def test_a_model_in_half_precision_stays_in_it(tmp_path):
    model = net().half()
    _, target = fuse_graph(onnx_net_half(model, tmp_path / "half.onnx"))
    after = onnx.load(target)
    assert {tensor.data_type for tensor in after.graph.initializer} == {TensorProto.FLOAT16}
    with pytest.raises(InvalidOption, match="float16"):
        fuse_graph(tmp_path / "half.onnx", dtype="float32")


def onnx_net_half(model, path):
    builder = OnnxBuilder()
    output = builder.sequential("image", model)
    kinds = {"image": TensorProto.FLOAT16, output: TensorProto.FLOAT16}
    onnx.save(builder.model({"image": (1, 3, 20, 28)}, [output], kinds), path)
    return path


@pytest.mark.parametrize("constant", [False, True])
def test_packed_elements_of_any_size_come_back_as_they_are(constant, tmp_path):
    builder = OnnxBuilder(21)
    packed = helper.make_tensor("q", TensorProto.INT4, (100, 1000), bytes(range(250)) * 200, raw=True)
    if constant:
        builder.nodes.append(helper.make_node("Constant", [], ["q"], value=packed))
    else:
        builder.initializers.append(packed)
    numbers = builder.op("DequantizeLinear", "q", builder.weight("scale", np.float32(0.5).reshape(())))
    made = builder.model({"x": ("n", 100)}, [builder.op("MatMul", "x", numbers)])
    made.ir_version = 10
    onnx.save(made, tmp_path / "packed.onnx")
    _, target = fuse_graph(tmp_path / "packed.onnx")
    after = onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    held = [node.attribute[0].t for node in after.graph.node if node.op_type == "Constant"]
    held = held or [tensor for tensor in after.graph.initializer if tensor.name == "q"]
    assert [tensor.raw_data for tensor in held] == [packed.raw_data]


def test_integers_masks_and_several_inputs_are_tried_as_they_are(tmp_path):
    builder = OnnxBuilder()
    rows = builder.op("Gather", builder.weight("table", torch.randn(11, 6)), "ids")
    moved = builder.op("Add", builder.op("MatMul", rows, builder.weight("up", torch.randn(6, 6))), "extra")
    low = builder.op("Where", "mask", moved, builder.weight("low", np.float32(-3.0).reshape(())))
    scaled = builder.op("Mul", builder.op("MatMul", low, builder.weight("out", torch.randn(6, 4))), "gain")
    builder.weight("gain", torch.rand(4) + 0.5)
    inputs = {"ids": ("n", "t"), "extra": ("n", "t", 6), "mask": ("n", "t", 1)}
    kinds_ = {"ids": TensorProto.INT64, "mask": TensorProto.BOOL}
    onnx.save(builder.model(inputs, [scaled], kinds_), tmp_path / "text.onnx")
    report, target = fuse_graph(tmp_path / "text.onnx")
    assert kinds(target).count("Mul") == 0
    assert report.equivalence.probe.shape == ((2, 16), (2, 16, 6), (2, 16, 1))
    feed = {
        "ids": np.array([[10, 0, 3]]),
        "extra": np.random.randn(1, 3, 6).astype(np.float32),
        "mask": np.array([[[True], [False], [True]]]),
    }
    close(run_onnx(target, **feed)[0], run_onnx(tmp_path / "text.onnx", **feed)[0])


def test_an_operator_that_nobody_knows_is_reported_and_what_lies_beside_it_is_fused(tmp_path):
    builder = OnnxBuilder()
    first, last = net()[:2], nn.Sequential(nn.Conv2d(8, 8, 3), norm(8)).eval()
    x = builder.sequential("image", first)
    builder.nodes.append(helper.make_node("Mystery", [x], ["odd"], domain="com.example"))
    builder.nodes.append(helper.make_node("Relu", ["odd"], ["plain"]))
    for conv, bn in (last,):
        x = builder.norm(builder.conv("plain", conv, "last"), bn, "last_norm")
    made = builder.model({"image": (2, 3, 20, 28)}, [x], domains=[helper.make_opsetid("com.example", 1)])
    made.graph.value_info.append(helper.make_tensor_value_info("odd", TensorProto.FLOAT, (2, 8, 10, 14)))
    onnx.save(made, tmp_path / "odd.onnx")
    report, target = fuse_graph(tmp_path / "odd.onnx")
    assert kinds(target) == ["Conv", "Mystery", "Relu", "Conv"]
    assert [part.code for part in report.refused] == ["operator-not-known"]
    assert report.equivalence.passed


def test_a_quantised_model_keeps_its_quantised_weights(tmp_path):
    builder = OnnxBuilder()
    scale, zero = builder.weight("scale", np.float32(0.02)), builder.weight("zero", np.int8(0))
    weight = builder.weight("weight", np.random.randint(-100, 100, (4, 3, 3, 3)).astype(np.int8))
    real = builder.op("DequantizeLinear", weight, scale, zero)
    x = builder.norm(builder.op("Conv", "image", real, kernel_shape=[3, 3]), norm(4).eval(), "norm")
    onnx.save(builder.model({"image": (1, 3, 20, 28)}, [x]), tmp_path / "quantised.onnx")
    _, target = fuse_graph(tmp_path / "quantised.onnx")
    assert kinds(target)[:2] == ["DequantizeLinear", "Conv"]
    assert any(tensor.data_type == TensorProto.INT8 for tensor in onnx.load(target).graph.initializer)


def test_what_a_branch_of_the_graph_decides_is_left_and_the_rest_fused(tmp_path):
    builder = OnnxBuilder()
    x = builder.sequential("image", net()[:2])
    then = helper.make_graph(
        [helper.make_node("Relu", [x], ["high"])],
        "then",
        [],
        [helper.make_tensor_value_info("high", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", [x], ["low"])], "other", [], [helper.make_tensor_value_info("low", 1, None)]
    )
    builder.nodes.append(helper.make_node("If", ["flag"], ["result"], then_branch=then, else_branch=other))
    made = builder.model({"image": (2, 3, 20, 28), "flag": ()}, ["result"], {"flag": TensorProto.BOOL})
    onnx.save(made, tmp_path / "branch.onnx")
    _, target = fuse_graph(tmp_path / "branch.onnx")
    assert kinds(target) == ["Conv", "If"]
    for flag in (True, False):
        feed = {"image": np.random.randn(2, 3, 20, 28).astype(np.float32), "flag": np.array(flag)}
        close(run_onnx(target, **feed)[0], run_onnx(tmp_path / "branch.onnx", **feed)[0])


def test_input_normalisation_goes_into_a_convolution_without_padding(tmp_path):
    builder = OnnxBuilder()
    centred = builder.op("Sub", "image", builder.weight("mean", torch.rand(1, 3, 1, 1)))
    scaled = builder.op("Div", centred, builder.weight("std", torch.rand(1, 3, 1, 1) + 0.2))
    output, path = builder.conv(scaled, nn.Conv2d(3, 4, 3), "stem"), tmp_path / "in.onnx"
    onnx.save(builder.model({"image": ("n", 3, "h", "w")}, [output]), path)
    report, target = fuse_graph(path)
    assert kinds(target) == ["Conv"]
    assert report.replaced[0].before == ("Shift", "Scale", "Conv 3x3")
    close(run_onnx(target, image=IMAGE)[0], run_onnx(path, image=IMAGE)[0])


def test_a_scale_and_a_shift_that_no_convolution_takes_in_are_told_as_what_is_written(tmp_path):
    builder = OnnxBuilder()
    scaled = builder.op("Mul", builder.op("Relu", "image"), builder.weight("scale", torch.rand(3, 1, 1) + 0.5))
    shifted = builder.op("Add", scaled, builder.weight("shift", torch.rand(3, 1, 1)))
    twice = builder.op("Mul", shifted, builder.weight("again", torch.rand(3, 1, 1) + 0.5))
    moved = builder.op("Add", twice, builder.weight("last", torch.rand(3, 1, 1)))
    onnx.save(builder.model({"image": (2, 3, 8, 6)}, [builder.op("Relu", moved)]), tmp_path / "scales.onnx")
    report, target = fuse_graph(tmp_path / "scales.onnx")
    assert kinds(target) == ["Relu", "BatchNormalization", "Relu"]
    (part,) = report.replaced
    assert part.before == ("Scale", "Shift", "Scale", "Shift")
    assert part.after == "BatchNorm(3)"
    assert (part.parameters_before, part.parameters_after) == (12, 12)


def test_an_operator_that_nobody_needs_may_read_what_is_fused_away(tmp_path):
    builder = OnnxBuilder()
    inner = builder.conv("image", nn.Conv2d(3, 4, 1), "first")
    builder.op("MatMul", inner, builder.weight("unused", torch.randn(28, 3)))
    output = builder.conv(inner, nn.Conv2d(4, 2, 1), "second")
    onnx.save(builder.model({"image": (2, 3, 20, 28)}, [output]), tmp_path / "dead.onnx")
    _, target = fuse_graph(tmp_path / "dead.onnx")
    assert kinds(target) == ["Conv"]
    close(run_onnx(target, image=IMAGE)[0], run_onnx(tmp_path / "dead.onnx", image=IMAGE)[0])


def test_operators_that_change_nothing_may_stand_between_what_is_fused(tmp_path):
    builder = OnnxBuilder()
    inner = builder.op("Dropout", builder.conv("image", nn.Conv2d(3, 4, 1), "first"))
    output = builder.conv(builder.op("Concat", inner, axis=1), nn.Conv2d(4, 2, 1), "second")
    onnx.save(builder.model({"image": (2, 3, 20, 28)}, [output]), tmp_path / "between.onnx")
    _, target = fuse_graph(tmp_path / "between.onnx")
    assert kinds(target) == ["Conv"]
    close(run_onnx(target, image=IMAGE)[0], run_onnx(tmp_path / "between.onnx", image=IMAGE)[0])


@pytest.mark.parametrize("odd", [False, True], ids=["read", "not read"])
def test_single_numbers_stay_single_numbers_where_every_size_is_open(odd, tmp_path):
    builder = OnnxBuilder()
    scaled = builder.op("Mul", builder.op("Relu", "x"), builder.weight("two", np.float32(2)))
    output = builder.op("Relu", builder.op("Add", builder.op("Neg", scaled), builder.weight("one", np.float32(1))))
    outputs = [output]
    if odd:  # an operator that is only read at other sizes than those that are tried
        outputs.append(builder.op("Reshape", "x", builder.weight("shape", np.array([1, 7, 5]))))
    onnx.save(builder.model({"x": ("n", "c", "t")}, outputs), tmp_path / "open.onnx")
    _, target = fuse_graph(tmp_path / "open.onnx")
    assert kinds(target)[:4] == ["Relu", "Mul", "Add", "Relu"]
    x = np.random.randn(1, 5, 7).astype(np.float32)
    close(run_onnx(target, x=x)[0], run_onnx(tmp_path / "open.onnx", x=x)[0])


def single_scale(builder, x):
    one, none = builder.weight("one", np.float32([1.5])), builder.weight("none", np.float32([0.25]))
    return builder.norm(builder.op("LayerNormalization", x, one, none), norm(3).eval(), "norm")


def test_a_layer_norm_whose_scale_is_one_number_serves_any_width(tmp_path):
    builder = OnnxBuilder()
    onnx.save(builder.model({"x": ("n", 3, "t")}, [single_scale(builder, "x")]), tmp_path / "wide.onnx")
    _, target = fuse_graph(tmp_path / "wide.onnx")
    assert kinds(target) == ["LayerNormalization", "BatchNormalization"]
    x = np.random.randn(2, 3, 11).astype(np.float32)
    close(run_onnx(target, x=x)[0], run_onnx(tmp_path / "wide.onnx", x=x)[0])


def test_a_scale_of_ones_is_none_and_is_not_folded_a_second_time(tmp_path):
    builder = OnnxBuilder()
    scale, shift = builder.weight("scale", torch.rand(4) + 0.5), builder.weight("shift", torch.rand(4))
    normalised = builder.op("LayerNormalization", "x", scale, shift)
    weight, bias = builder.weight("weight", torch.randn(2, 4)), builder.weight("bias", torch.rand(2))
    output = builder.op("Gemm", normalised, weight, bias, transB=1)
    onnx.save(builder.model({"x": ("n", 4)}, [output]), tmp_path / "norm.onnx")
    first, target = fuse_graph(tmp_path / "norm.onnx")
    assert first.replaced[0].before == ("Scale", "Shift", "Linear")
    assert not fuse_graph(target)[0].replaced


def test_a_model_with_an_operator_that_is_not_read_is_tried_at_other_sizes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(rewrite, "prod", lambda shape: 16)
    builder = OnnxBuilder()
    output = single_scale(builder, "x")
    builder.nodes.append(helper.make_node("Mystery", ["x"], ["odd"], domain="com.example"))
    domains = [helper.make_opsetid("com.example", 1)]
    made = builder.model({"x": ("n", 3, "t")}, [output, "odd"], domains=domains)
    onnx.save(made, tmp_path / "wide.onnx")
    with pytest.raises(NotEquivalent):
        fuse_graph(tmp_path / "wide.onnx")


def test_an_output_that_is_zero_throughout_does_not_fail_the_others(tmp_path):
    model = net()
    builder = OnnxBuilder()
    output = builder.sequential("image", model)
    untrained = builder.conv(output, nn.Conv2d(6, 2, 1, bias=False), "untrained")
    builder.initializers[-1].CopyFrom(numpy_helper.from_array(np.zeros((2, 6, 1, 1), np.float32), "untrained.weight"))
    last = builder.op("Sigmoid", output)
    onnx.save(builder.model({"image": (2, 3, 20, 28)}, [last, untrained]), tmp_path / "untrained.onnx")
    report, target = fuse_graph(tmp_path / "untrained.onnx")
    assert report.equivalence.passed
    close(run_onnx(target, image=IMAGE)[0], torch.sigmoid(model(IMAGE)))


def test_the_scale_and_shift_of_a_layer_norm_go_into_every_linear_behind_it(tmp_path):
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.q, self.k = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
            nn.init.uniform_(self.norm.weight, 0.5, 2)
            nn.init.normal_(self.norm.bias)

        def forward(self, x):
            y = self.norm(x)
            return torch.softmax(self.q(y) @ self.k(y).transpose(1, 2), -1)

    model, x = Attention().eval(), torch.randn(2, 5, 6)
    report, target = fuse_graph(export(model, tmp_path / "attention.pt2", x, dynamic=False))
    program = torch.export.load(target)
    assert set(program.state_dict) == {"q.weight", "q.bias", "k.weight", "k.bias"}
    assert report.summary.parameters_after == 2 * (36 + 6)
    close(program.module()(x).detach().numpy(), model(x))


@pytest.mark.parametrize("given", ["1x3x64x96", "image=1x3x64x96"])
def test_the_caller_may_say_on_which_sizes_the_model_is_tried(given, tmp_path):
    report, _ = fuse_graph(onnx_net(net(), tmp_path / "net.onnx"), probe_shape=given)
    assert report.equivalence.probe.shape == ((1, 3, 64, 96),)


@pytest.mark.parametrize("given", ["1x4x64x96", "1x3x64", "1x3x0x9", "other=1x3x64x96", "huge", "1x3x99999x99999"])
def test_sizes_that_fit_no_input_are_refused(given, tmp_path):
    with pytest.raises(InvalidOption, match="probe_shape"):
        fuse_graph(onnx_net(net(), tmp_path / "net.onnx"), probe_shape=given)


def test_a_pickled_module_has_no_use_for_a_probe_shape(tmp_path):
    with pytest.raises(InvalidOption, match="probe_shape"):
        nets.fuse(net(), tmp_path, probe_shape="1x3x64x96")


def test_an_inspection_tells_what_is_in_a_graph_file(tmp_path):
    found = inspect_checkpoint(onnx_net(net(), tmp_path / "net.onnx"), filename="net.onnx")
    assert found.input.format == "onnx"
    assert (found.input.detected.batch_norms, found.input.detected.convolutions) == (3, 3)


def _wrong_by_a_little(rounded):
    return rounded._replace(weight=rounded.weight * (1 + 1e-5))


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_wrong_weights_never_leave_the_house(kind, tmp_path, monkeypatch):
    right = pending.Pending.rounded
    monkeypatch.setattr(pending.Pending, "rounded", lambda self, dtype: _wrong_by_a_little(right(self, dtype)))
    source = tmp_path / f"net.{kind}"
    _ = onnx_net(net(), source) if kind == "onnx" else export(net(), source, IMAGE)
    with pytest.raises(NotEquivalent):
        fuse_graph(source)
    assert not source.with_name(f"fused.{source.name}").exists()


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_operator_that_is_written_wrong_is_caught(kind, tmp_path, monkeypatch):
    def wrong(program, operators_of):
        fusion = plan_program(program, operators_of)
        for node in fusion.graph.nodes:
            if isinstance(node.operation, fuse.programs.ir.Conv):
                object.__setattr__(node.operation, "padding", tuple((b + 1, e + 1) for b, e in node.operation.padding))
                break
        return fusion

    monkeypatch.setattr(programs, "plan_program", wrong)
    source = tmp_path / f"net.{kind}"
    _ = onnx_net(net(), source) if kind == "onnx" else export(net(), source, IMAGE)
    with pytest.raises(AppError):
        fuse_graph(source)
    assert not source.with_name(f"fused.{source.name}").exists()


@pytest.mark.parametrize(
    ("last", "left"), [((-1, 8), ["Reshape", "Relu"]), ((0, 0, -1, 1), ["Reshape", "Reshape", "Relu"])]
)
def test_of_reshapes_in_a_row_the_last_is_left_unless_it_keeps_sizes_as_they_are(last, left, tmp_path):
    builder = OnnxBuilder()
    first = builder.op("Reshape", "x", builder.weight("first", np.array([0, 0, 2, 4])))
    second = builder.op("Reshape", first, builder.weight("second", np.array(last)))
    onnx.save(builder.model({"x": ("n", "m", 8)}, [builder.op("Relu", second)]), path := tmp_path / "rows.onnx")
    _, target = fuse_graph(path)
    assert kinds(target) == left
    x = np.random.randn(5, 6, 8).astype(np.float32)
    close(run_onnx(target, x=x)[0], run_onnx(path, x=x)[0])


def test_what_is_computed_twice_is_computed_once_but_for_what_is_drawn_at_random(tmp_path):
    builder = OnnxBuilder()
    twice = [builder.op("Exp", builder.op("Add", "x", builder.weight(f"one{n}", np.float32([1.0])))) for n in range(2)]
    onnx.save(builder.model({"x": ("n", 4)}, [builder.op("Mul", *twice)]), path := tmp_path / "twice.onnx")
    _, target = fuse_graph(path)
    assert kinds(target) == ["Add", "Exp", "Mul"]
    x = np.random.randn(5, 4).astype(np.float32)
    close(run_onnx(target, x=x)[0], run_onnx(path, x=x)[0])

    builder = OnnxBuilder()
    drawn = [builder.op("Mul", "x", builder.op("RandomNormal", shape=[4], dtype=1)) for _ in range(2)]
    onnx.save(builder.model({"x": ("n", 4)}, [builder.op("Add", *drawn)]), path := tmp_path / "drawn.onnx")
    assert kinds(fuse_graph(path)[1]).count("RandomNormal") == 2


def test_what_is_taken_of_a_dimension_of_any_size_is_no_convolution_of_the_size_tried(tmp_path):
    builder = OnnxBuilder()
    taken = builder.op("Gather", builder.op("Relu", "x"), builder.weight("where", np.array([0, 1])), axis=1)
    moved = builder.op("Add", taken, builder.weight("a", np.float32(2)))
    scaled = builder.op("Mul", moved, builder.weight("b", np.float32(3)))
    onnx.save(builder.model({"x": ("n", "c", "h", "w")}, [scaled]), path := tmp_path / "open.onnx")
    _, target = fuse_graph(path)
    x = np.random.randn(1, 7, 4, 5).astype(np.float32)
    close(run_onnx(target, x=x)[0], run_onnx(path, x=x)[0])
