"""Original and written model side by side: both are what the report says, on the sizes that it says."""

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.interpret.numeric import run
from app.engine.ir.checkpoint import find_model
from app.engine.ir.graph import Graph
from app.engine.latency.graphs import Both, Runner, of_graphs, peak_bytes
from tests.engine.graph_models import export, fuse_graph, net, onnx_net
from tests.engine.nets import Unknown, fuse, pair


def graph_of(model: nn.Module, path, *shapes: tuple[int, ...]) -> Graph:
    torch.save(model, path)
    return trace(find_model(read_file(path).root).module, shapes, family_of).graph


def test_a_runner_computes_what_the_model_computes(tmp_path):
    model = net()
    x = torch.randn(2, 3, 16, 16)
    graph = graph_of(model, tmp_path / "net.pt", tuple(x.shape))
    runner = Runner.of(graph, [x], torch.float32, "cpu")
    for _ in range(2):
        torch.testing.assert_close(runner(), model(x))
    torch.testing.assert_close(run(graph, [x], torch.float32), model(x))


def test_weights_that_the_model_computes_with_each_call_are_computed_with_each_run(tmp_path):
    with pytest.warns(FutureWarning, match="deprecated"):
        conv = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    model = nn.Sequential(conv, nn.ReLU()).eval()
    graph = graph_of(model, tmp_path / "net.pt", (1, 3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    runner = Runner.of(graph, [x], torch.float32, "cpu")
    made = [const for node in graph.nodes for const in node.consts() if const.made]
    assert made
    assert not {id(const) for const in made} & set(runner.constants)
    torch.testing.assert_close(runner(), model(x))


def test_what_a_run_holds_at_most_is_the_widest_place_between_two_layers(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.ReLU(), nn.MaxPool2d(8))
    graph = graph_of(model.eval(), tmp_path / "net.pt", (1, 1, 8, 8))
    assert peak_bytes(graph, torch.float32) == 4 * 64 * (8 + 8)


def test_a_graph_of_one_batch_size_is_run_at_another_if_none_of_its_operators_holds_the_size(tmp_path):
    graph = graph_of(net(), tmp_path / "net.pt", (2, 3, 16, 16))
    pair_at = of_graphs(lambda batch: Both(graph, graph, batch), torch.float32, "float32", "cpu").at(8)
    assert pair_at is not None
    assert pair_at.shapes == ((8, 3, 16, 16),)
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0)).eval()
    fixed = graph_of(flat, tmp_path / "flat.pt", (2, 3, 8, 8))
    assert of_graphs(lambda batch: Both(fixed, fixed, batch), torch.float32, "float32", "cpu").at(8) is None


@pytest.mark.parametrize(
    ("kind", "runtime", "sizes"),
    [("onnx", "onnxruntime", [1, 8]), ("pt2", "torch", [2, 8])],  # torch.export takes 1 for a size that is fixed
)
def test_graph_files_are_timed_in_what_runs_them(tmp_path, kind, runtime, sizes):
    source = tmp_path / f"net.{kind}"
    model = net()
    export(model, source, torch.randn(2, 3, 32, 32)) if kind == "pt2" else onnx_net(model, source, ("n", 3, 20, 20))
    latency = fuse_graph(source, benchmark=True)[0].latency
    assert latency.runtime.startswith(runtime)
    assert [row.batch for row in latency.rows] == sizes
    assert latency.dtype == "float32"
    assert latency.sentence


def test_an_onnx_model_of_a_fixed_batch_size_is_timed_at_that_one(tmp_path):
    report, _ = fuse_graph(onnx_net(net(), tmp_path / "net.onnx", (3, 3, 20, 20)), benchmark=True)
    assert [row.shape for row in report.latency.rows] == [((3, 3, 20, 20),)]


def test_a_module_tree_is_timed_at_a_size_that_it_is_used_at_or_at_the_one_it_takes(tmp_path):
    body = [pair(nn.Conv2d(3, 4, 3, stride=4)), nn.MaxPool2d(4), nn.Flatten()]
    report = fuse(nn.Sequential(*body).eval(), tmp_path, benchmark=True).report
    assert [row.shape for row in report.latency.rows] == [((1, 3, 224, 224),), ((8, 3, 224, 224),)]
    assert "measuring" in report.timings_seconds
    assert fuse(nn.Sequential(*body).eval(), tmp_path).report.latency is None


def test_what_can_not_be_timed_is_told(tmp_path):
    unknown = fuse(Unknown(stem=pair(nn.Conv2d(3, 4, 3))), tmp_path, benchmark=True).report
    assert unknown.latency is None
    assert any("not followed as a whole" in note for note in unknown.notes)
    nothing = fuse(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), tmp_path, benchmark=True).report
    assert nothing.latency is None
    assert any("nothing was replaced" in note for note in nothing.notes)
