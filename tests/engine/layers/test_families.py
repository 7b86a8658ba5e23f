"""The layers of published blocks: their deploy forms keep the fused convolution under names of their own."""

import pytest

from tests.engine.layers.data import fused_report


@pytest.mark.parametrize(
    ("folder", "name", "block", "slot"),
    [("repvgg", "model", "RepVGGBlock", "rbr_reparam"), ("dbb", "blocks", "DiverseBranchBlock", "dbb_reparam")],
)
def test_all_parts_of_a_block_went_into_the_slot_of_its_deploy_form(tmp_path, folder, name, block, slot):
    tree = fused_report(folder, name, tmp_path).tree
    fused = {layer.path for layer in tree.after if layer.fate == "fused"}
    blocks = [layer.path for layer in tree.before if layer.kind == block]
    assert blocks
    for path in blocks:
        into = f"{path}.{slot}".lstrip(".")
        assert into in fused
        inner = [layer for layer in tree.before if layer.kind in ("Conv2d", "BatchNorm2d") and layer.into == into]
        assert inner
        assert all(layer.path.startswith(path) for layer in inner)


def test_branches_leave_fewer_multiply_adds_and_the_layers_add_up(tmp_path):
    report = fused_report("repvgg", "model", tmp_path)
    figures, tree = report.summary, report.tree
    assert figures.multiply_adds_after < figures.multiply_adds_before
    assert sum(layer.multiply_adds for layer in tree.before) == figures.multiply_adds_before
    assert sum(layer.multiply_adds for layer in tree.after) == figures.multiply_adds_after
    assert sum(layer.parameters for layer in tree.after) == figures.parameters_after
