"""Reports on a terminal: what comes from files does nothing to it."""

import io

from rich.console import Console

from app.commands.tables import inspection_view, plain, report_view, tree_view
from app.engine import inspect_checkpoint
from tests.engine.graph_models import fuse_graph, net, onnx_net


def shown(view: object, terminal: bool = True) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=terminal, width=100, highlight=False).print(view)
    return stream.getvalue()


def test_control_characters_and_markup_of_names_are_shown_and_not_obeyed(tmp_path):
    report, _ = fuse_graph(onnx_net(net(), tmp_path / "net.onnx"))
    evil = "[red]a\x1b]0;title\x07\nb\u202e"
    replaced = report.replaced[0].model_copy(update={"path": evil})
    changed = report.model_copy(update={"replaced": (replaced,), "notes": (evil,)})
    text = shown(report_view(changed), terminal=False)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[red]a\\x1b]0;title\\x07\\nb" in text


def test_plain_leaves_letters_of_all_languages():
    assert plain("Größe 模型 модель") == "Größe 模型 модель"


def test_only_the_first_rows_are_shown_unless_all_are_asked_for(tmp_path):
    report, _ = fuse_graph(onnx_net(net(), tmp_path / "net.onnx"))
    many = report.model_copy(update={"replaced": report.replaced[:1] * 40})
    assert "the first 25 of 40" in shown(report_view(many))
    assert "replaced: 40" in shown(report_view(many, everything=True))


def test_operators_of_a_graph_file_are_a_flat_tree(tmp_path):
    report, _ = fuse_graph(onnx_net(net(), tmp_path / "net.onnx"))
    text = shown(tree_view(report), terminal=False)
    assert text.count("Conv2d(3, 8, 3x3, stride 2)") == 2
    assert "replaced into batchnormalization1" in text
    assert "no layers" in shown(tree_view(report.model_copy(update={"tree": None})))


def test_an_inspection_names_format_and_size(tmp_path):
    source = onnx_net(net(), tmp_path / "net.onnx")
    text = shown(inspection_view(inspect_checkpoint(source, filename=source.name)), terminal=False)
    for part in ("net.onnx", "onnx", f"{source.stat().st_size:,}", "convolutions"):
        assert part in text
