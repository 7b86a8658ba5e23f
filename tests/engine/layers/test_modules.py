"""The layers of a module tree: the same as torch's own modules, with what became of each."""

from collections import Counter

import torch
from torch import nn

from app.engine.ir.module import Module, identity_node, module_node
from app.engine.layers import sketch
from app.report import MAX_LAYERS, Report
from tests.engine.nets import Unknown, fuse, norm, pair, trained


def net() -> nn.Sequential:
    return nn.Sequential(
        pair(nn.Conv2d(3, 8, 3, stride=2, bias=False)),
        nn.Conv2d(8, 8, 3, groups=2),
        norm(8),
        nn.ReLU(),
        norm(8, track_running_stats=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


def own(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters(recurse=False))


def fates(report: Report) -> dict[str, str]:
    assert report.tree is not None
    return {layer.path: layer.fate for layer in report.tree.before}


def test_both_lists_are_the_modules_that_torch_sees_in_order_with_their_own_parameters(tmp_path):
    model = net()
    result = fuse(model, tmp_path)
    tree = result.report.tree
    for layers, module in ((tree.before, model), (tree.after, result.loaded)):
        seen = [(name, type(one).__name__, own(one)) for name, one in module.named_modules()]
        assert [(layer.path, layer.kind, layer.parameters) for layer in layers] == seen


def test_texts_give_the_sizes_of_known_layers(tmp_path):
    tree = fuse(net(), tmp_path).report.tree
    texts = [layer.text for layer in tree.before if "(" in layer.text]
    assert texts == [
        "Conv2d(3, 8, 3x3, stride 2)",
        "BatchNorm2d(8)",
        "Conv2d(8, 8, 3x3, groups 2)",
        "BatchNorm2d(8)",
        "BatchNorm2d(8)",
        "Linear(8, 5)",
    ]


def test_a_chain_goes_into_its_convolution_and_leaves_an_empty_place(tmp_path):
    report = fuse(net(), tmp_path).report
    tree = report.tree
    before = {layer.path: (layer.fate, layer.into) for layer in tree.before}
    assert before["1"] == before["2"] == ("replaced", "1")
    assert before["3"] == ("kept", None)
    assert before["4"] == ("refused", None)
    after = {layer.path: (layer.kind, layer.fate) for layer in tree.after}
    assert after["1"] == ("Conv2d", "fused")
    assert after["2"] == ("Identity", "replaced")
    assert after["4"] == ("BatchNorm2d", "refused")


def test_layers_of_blocks_in_an_unknown_class_have_no_multiply_adds(tmp_path):
    report = fuse(Unknown(stem=pair(nn.Conv2d(3, 4, 3)), rest=nn.Conv2d(4, 4, 1)), tmp_path).report
    assert report.summary.multiply_adds_before is None
    assert {layer.multiply_adds for layer in (*report.tree.before, *report.tree.after)} == {None}
    assert fates(report)["stem.1"] == "replaced"


def test_a_shared_parameter_counts_at_its_first_layer_so_that_the_sum_is_the_summary(tmp_path):
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    second.weight = first.weight
    report = fuse(nn.Sequential(first, nn.ReLU(), second, nn.ReLU()).eval(), tmp_path).report
    counted = [layer.parameters for layer in report.tree.before]
    assert counted == [0, 20, 0, 4, 0]
    assert sum(counted) == report.summary.parameters_before


def test_every_replaced_layer_went_into_one_that_is_there(tmp_path):
    torch.manual_seed(3)
    blocks = [pair(nn.Conv2d(4, 4, 3, padding=1)) for _ in range(3)]
    tree = fuse(trained(nn.Sequential(*blocks)), tmp_path).report.tree
    fused = {layer.path for layer in tree.after if layer.fate == "fused"}
    assert {layer.into for layer in tree.before if layer.fate == "replaced"} == fused == {"0.0", "1.0", "2.0"}
    assert Counter(layer.fate for layer in tree.before) == {"kept": 7, "replaced": 6}


def test_a_model_of_more_layers_than_a_report_holds_has_no_list(tmp_path):
    shared = identity_node(training=False)
    children = {str(number): shared for number in range(MAX_LAYERS - 1)}
    root = Module(module_node(("torch.nn.modules.container", "Sequential"), training=False, modules=children))
    found = sketch(root)
    assert found is not None
    assert len(found) == MAX_LAYERS
    root.table("_modules")["more"] = shared
    assert sketch(root) is None


def test_a_report_says_that_it_holds_no_list_of_layers(tmp_path):
    model = nn.Sequential(*[nn.Sequential(*[nn.Identity()] * 20) for _ in range(1000)], pair(nn.Conv2d(3, 4, 3)))
    report = fuse(model.eval(), tmp_path).report
    assert report.tree is None
    assert any("layer by layer" in note for note in report.notes)
    assert report.summary.layers_replaced == 1
