"""How fused timm blocks are kept, when they are not fused, and what is not taken for one."""

import pytest
import torch
from torch import nn

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.replace import apply, plan_fusion
from app.engine.fuse.survey import survey
from app.engine.ir.module import Module, ordered_dict
from tests.engine.forward.inert import layer, made_up, outputs
from tests.engine.forward.package_files import file, fused, oracle, root
from tests.engine.nets import trained


def _children(module: Module) -> list[str]:
    return list(module.table("_modules"))


def _find(module: Module, class_name: str) -> list[Module]:
    return [part for part in module.walk() if part.class_path.rpartition(".")[2] == class_name]


def _codes(module: Module, shapes: list[tuple[int, ...]]) -> set[str]:
    fusion = plan_fusion(trace(module, shapes, family_of), survey(module), None)
    return {cut.code for cut in fusion.cuts}


@pytest.mark.parametrize("name", ["repvgg", "mobileone"])
def test_branches_become_reparam_conv_and_nothing_hides_it(name, tmp_path):
    module, _ = fused(file("timm", name), tmp_path)
    blocks = [*_find(module, "RepVggBlock"), *_find(module, "MobileOneBlock")]

    assert blocks
    for block in blocks:
        assert set(_children(block)) == {"reparam_conv", "attn", "act"}
        assert "reparam_conv" not in block.state


def test_fast_vit_says_that_it_is_in_inference_mode(tmp_path):
    module, _ = fused(file("timm", "fastvit"), tmp_path)
    (mixer,) = _find(module, "RepMixer")
    (positions,) = _find(module, "RepConditionalPosEnc")

    assert mixer.attribute("inference_mode") is True
    assert _children(mixer) == _children(positions) == ["reparam_conv"]


def test_a_block_that_timm_fuses_to_one_layer_is_that_layer(tmp_path):
    module, report = fused(file("timm", "repvit"), tmp_path)

    assert module.child("head").class_path == "torch.nn.modules.linear.Linear"
    assert not _find(module, "ConvNorm")
    assert not _find(module, "RepVggDw")
    read = {(entry.class_path, entry.read_as) for entry in report.read_as}
    assert ("timm.models.repvit.RepVggDw", "timm RepViT RepVggDw") in read


def test_a_layer_in_a_blocks_place_keeps_the_number_that_a_parser_gave_the_block(tmp_path):
    module = root(file("timm", "levit_linear_norm"))
    module.state.update(i=3, f=-1, type="LinearNorm", np=70, other=[1])

    family_of(module).deploy.write(module, {"held": layer(tmp_path, nn.Linear(6, 10))})

    assert module.class_path == "torch.nn.modules.linear.Linear"
    assert {name: module.state.get(name) for name in ("i", "f", "type", "np", "other")} == {
        "i": 3,
        "f": -1,
        "type": "LinearNorm",
        "np": 70,
        "other": None,
    }


def test_a_folded_norm_with_an_activation_leaves_its_activation(tmp_path):
    module, _ = fused(file("timm", "efficientnet_same"), tmp_path)
    stem = module.child("bn1")

    assert stem.class_path == "torch.nn.modules.container.Sequential"
    assert _children(stem) == ["drop", "act"]
    assert stem.child("act").class_path == "torch.nn.modules.activation.SiLU"
    assert not _find(module, "BatchNormAct2d")


def test_padding_by_the_size_of_the_input_stays_and_is_right_at_other_sizes(tmp_path):
    path = file("timm", "efficientnet_same")
    before, (after, _) = root(path), fused(path, tmp_path)
    layers = _find(after, "Conv2dSame")

    assert len(layers) == len(_find(before, "Conv2dSame")) > 1
    assert all(part.tensor("bias") is not None for part in layers)
    for height, width in ((33, 47), (40, 32), (35, 29)):
        x = torch.randn(2, 3, height, width)
        (wanted,), (found,) = outputs(before, [x]), outputs(after, [x])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_ghost_bottleneck_is_left_as_its_own_code_leaves_it(tmp_path):
    module, _ = fused(file("timm", "ghostv3"), tmp_path)

    for block in (module, *_find(module, "GhostModuleV3")):
        assert block.attribute("infer_mode") is True
        assert not [name for name in _children(block) if "_rpr_" in name]
    assert module.child("conv_dw").class_path == "torch.nn.modules.conv.Conv2d"
    assert module.child("bn_dw").class_path == "torch.nn.modules.linear.Identity"
    for ghost in (module.child("ghost1"), module.child("ghost2")):
        assert _children(ghost.child("cheap_operation")) == ["0", "1"]


def test_rep_ghost_has_lists_without_branches_as_its_own_code_leaves_them(tmp_path):
    module, _ = fused(file("timm", "repghost"), tmp_path)
    ghost = module.child("ghost1")

    assert (ghost.state["fusion_conv"], ghost.state["fusion_bn"]) == ([], [])
    assert ghost.child("cheap_operation").class_path == "torch.nn.modules.conv.Conv2d"


# --- refuses ----------------------------------------------------------------------------------------------------------


def test_a_branch_without_statistics_keeps_the_block_as_it_is():
    module = root(file("timm", "repvgg"))
    inputs, _ = oracle(file("timm", "repvgg"))
    block = module.child("stem")
    block.child("conv_1x1").child("bn").table("_buffers").update(running_mean=None, running_var=None)

    assert "batch-norm-without-statistics" in _codes(module, [tuple(x.shape) for x in inputs])


def test_a_hook_on_a_branch_bounds_the_description():
    module = root(file("timm", "repvit_legacy"))
    module.child("conv").state["_forward_hooks"] = ordered_dict({1: None})

    with pytest.raises(Exception, match="hooks run around its forward"):
        trace(module, [(1, 6, 7, 9)], family_of)


def test_tokens_are_normed_by_a_batch_norm_with_statistics_only():
    module = root(file("timm", "levit_linear_norm"))
    module.child("bn").table("_buffers")["running_mean"] = None

    with pytest.raises(Exception, match="keeps no statistics"):
        trace(module, [(2, 5, 6)], family_of)


# --- leaves alone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_path", "children"),
    [
        ("timm.models.repvit.ConvNorm", {"c": nn.Conv2d(3, 4, 1), "bn": nn.BatchNorm2d(4), "more": nn.ReLU()}),
        ("timm.models.byobnet.RepVggBlock", {"conv_kxk": nn.Conv2d(3, 3, 3), "act": nn.ReLU()}),
        ("timm.models.fastvit.RepMixer", {"mixer": nn.Identity(), "norm": nn.Identity()}),
        ("timm.models.repghost.RepGhostModule", {"cheap_operation": nn.Sequential(), "relu": nn.ReLU()}),
        ("timm.models._efficientnet_blocks.InvertedResidual", {"conv_pw": nn.Conv2d(3, 3, 1), "gate": nn.ReLU()}),
        ("timm.layers.norm_act.BatchNormAct2d", {"blur": nn.ReLU()}),
        ("my.models.byobnet.RepVggBlock", {"conv_kxk": nn.Identity(), "conv_1x1": nn.Identity(), "act": nn.ReLU()}),
    ],
)
def test_a_class_with_other_parts_is_not_taken_for_the_published_one(class_path, children, tmp_path):
    parts = {name: layer(tmp_path, child) for name, child in children.items()}

    assert family_of(made_up(class_path, parts)) is None


def test_standardised_weights_are_computed_once_also_without_a_bias(tmp_path):
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    geometry = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "padding_mode": "zeros"}
    layer_ = made_up("timm.layers.std_conv.StdConv2d", weight=weight, in_channels=4, eps=1e-6, **geometry)
    layer_.table("_parameters")["bias"] = None
    root_ = made_up("torch.nn.modules.container.Sequential", {"0": layer_.node})
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    flat = weight.double().flatten(1)
    spread = (flat.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    expected = nn.functional.conv2d(x, ((flat - flat.mean(1, keepdim=True)) / spread).reshape(weight.shape), padding=1)

    fusion = plan_fusion(trace(root_, [(2, 4, 9, 7)], family_of), survey(root_), torch.float64)
    apply(fusion, root_)

    left = root_.child("0")
    assert left.class_path == "torch.nn.modules.conv.Conv2d"
    assert left.tensor("bias") is None
    torch.testing.assert_close(outputs(root_, [x])[0], expected)


def _mixed(*kernels: Module) -> Module:
    return made_up(
        "timm.layers.mixed_conv2d.MixedConv2d",
        {str(number): kernel.node for number, kernel in enumerate(kernels)},
        splits=[3, 5],
    )


def _mixed_block(tmp_path, **norm) -> Module:
    torch.manual_seed(7)
    parts = {
        "conv_dw": _mixed(
            Module(layer(tmp_path, nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False))),
            Module(layer(tmp_path, nn.Conv2d(5, 5, 5, padding=2, groups=5, bias=False))),
        ).node,
        "bn1": layer(
            tmp_path, trained(nn.BatchNorm2d(norm.get("width", 8), track_running_stats=norm.get("track", True)))
        ),
        "conv_pw": layer(tmp_path, nn.Conv2d(8, 4, 1)),
        "bn2": layer(tmp_path, nn.Identity()),
    }
    return made_up("timm.models._efficientnet_blocks.DepthwiseSeparableConv", parts, has_skip=False)


def test_each_kernel_of_a_mixed_convolution_takes_in_its_share_of_the_norm(tmp_path):
    block = _mixed_block(tmp_path)
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    before = outputs(block, [x])

    apply(plan_fusion(trace(block, [(2, 8, 9, 7)], family_of), survey(block), torch.float64), block)

    assert block.child("bn1").class_path == "torch.nn.modules.linear.Identity"
    assert [part.tensor("bias").shape for _, part in block.child("conv_dw").children()] == [(3,), (5,)]
    torch.testing.assert_close(outputs(block, [x]), before)


def test_a_norm_of_the_batch_behind_a_mixed_convolution_is_refused(tmp_path):
    assert _codes(_mixed_block(tmp_path, track=False), [(2, 8, 9, 7)]) == {"batch-norm-without-statistics"}


def test_a_norm_of_another_width_than_the_kernels_together_is_not_read(tmp_path):
    block = _mixed_block(tmp_path, width=9)

    with pytest.raises(UnknownFlow, match="8 are joined"):
        trace(block, [(2, 8, 9, 7)], family_of)


def test_a_mixed_convolution_with_a_hook_is_not_read(tmp_path):
    block = _mixed_block(tmp_path)
    block.child("conv_dw").state["_forward_hooks"] = ordered_dict({0: "hook"})

    with pytest.raises(UnknownFlow, match="hooks run"):
        trace(block, [(2, 8, 9, 7)], family_of)
