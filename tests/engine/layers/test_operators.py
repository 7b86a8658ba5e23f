"""The operators of graph files before and after."""

import onnx
import pytest
import torch

from tests.engine.graph_models import OnnxBuilder, export, fuse_graph, net, onnx_net
from tests.engine.nets import norm


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_operators_are_listed_in_order_with_where_they_went(tmp_path, kind):
    source = tmp_path / f"net.{kind}"
    model = net()
    export(model, source, torch.randn(2, 3, 32, 32)) if kind == "pt2" else onnx_net(model, source)
    report, _ = fuse_graph(source)
    tree = report.tree
    assert [layer.fate for layer in tree.before] == ["replaced"] * 2 + ["kept"] + ["replaced"] * 2 + ["kept"] + [
        "replaced"
    ] * 2
    assert [layer.fate for layer in tree.after] == ["fused", "kept", "fused", "kept", "fused"]
    fused = [layer.path for layer in tree.after if layer.fate == "fused"]
    assert list(dict.fromkeys(layer.into for layer in tree.before if layer.into)) == fused
    assert tree.after[0].text == "Conv2d(3, 8, 3x3, stride 2)"
    for layers, parameters, work in (
        (tree.before, report.summary.parameters_before, report.summary.multiply_adds_before),
        (tree.after, report.summary.parameters_after, report.summary.multiply_adds_after),
    ):
        assert sum(layer.multiply_adds for layer in layers) == work
        # Running statistics are initializers of an ONNX model like any others, and buffers of a program.
        assert sum(layer.parameters for layer in layers) == parameters


def test_both_lists_have_the_operators_of_the_files(tmp_path):
    source = onnx_net(net(), tmp_path / "net.onnx")
    report, target = fuse_graph(source)
    for layers, path in ((report.tree.before, source), (report.tree.after, target)):
        nodes = [(node.output[0], node.op_type) for node in onnx.load(path).graph.node if node.op_type != "Constant"]
        assert [(layer.path, layer.kind) for layer in layers] == nodes


def test_an_operator_that_is_not_read_has_no_multiply_adds_and_one_that_must_stay_is_refused(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm("image", norm(3), "first")
    x = builder.op("Relu", x)
    x = builder.op("Foreign", x)
    builder.nodes[-1].domain = "elsewhere"
    out = builder.norm(x, norm(3), "last")
    source = tmp_path / "net.onnx"
    onnx.save(builder.model({"image": (1, 3, 8, 8)}, [out], domains=[onnx.helper.make_opsetid("elsewhere", 1)]), source)
    report, _ = fuse_graph(source)
    by_kind = {layer.kind: layer for layer in report.tree.before}
    assert by_kind["Foreign"].multiply_adds is None
    assert by_kind["Foreign"].fate == "refused"
    refused = {part.path for part in report.refused}
    assert {layer.path for layer in report.tree.before if layer.fate == "refused"} == refused


def test_an_operator_within_a_branch_is_listed_below_the_one_that_it_is_of(tmp_path):
    inner = OnnxBuilder()
    out = inner.sequential("image", net())
    graph = inner.model({}, [out]).graph
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, None))
    other = OnnxBuilder()
    zeros = other.op("Neg", other.op("Relu", "image"))
    outer = OnnxBuilder()
    branch = outer.model({}, []).graph
    del branch
    made = outer.op(
        "If", "flag", then_branch=graph, else_branch=onnx.helper.make_graph(other.nodes, "other", [], [_of(zeros)])
    )
    source = tmp_path / "net.onnx"
    model = outer.model({"image": (1, 3, 16, 16), "flag": ()}, [made], {"flag": onnx.TensorProto.BOOL})
    onnx.save(model, source)
    report, _ = fuse_graph(source)
    paths = [layer.path for layer in report.tree.before]
    assert paths[0] == made
    assert all(path.startswith(f"{made}/") for path in paths[1:])
    replaced = [layer for layer in report.tree.before if layer.fate == "replaced"]
    assert len(replaced) == 6
    assert {layer.into for layer in replaced} == {layer.path for layer in report.tree.after if layer.fate == "fused"}
    assert {part.path for part in report.replaced} <= set(paths)


def _of(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
