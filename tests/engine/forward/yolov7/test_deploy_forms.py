"""Deploy forms: what is left of a block after fused convolutions were put in. The convolutions are made up here."""

import pytest
import torch
from torch import nn

from app.engine.forward.families import family_of
from app.engine.ir.module import Module
from app.engine.ir.node import Global
from tests.engine.forward.inert import block, layer, made_up, model_at, outputs


def _write(module: Module, convolutions: dict) -> None:
    family = family_of(module)
    slots = {slot.name for slot in family.deploy.slots(module)}
    assert set(convolutions) <= slots
    family.deploy.write(module, convolutions)


def _names(module: Module) -> list[str]:
    return list(module.table("_modules"))


def _is_identity(module: Module) -> bool:
    complete = {"training", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks"}
    return module.class_path == "torch.nn.modules.linear.Identity" and complete <= set(module.state)


def test_conv_becomes_a_sequential_in_place_and_keeps_its_other_attributes(tmp_path) -> None:
    module = model_at(block("Conv_g"))
    module.state.update(i=3, f=-1, type="models.common.Conv", np=17)
    node, before, activation = module.node, dict(module.state), module.child("act").node
    fused = layer(tmp_path, nn.Conv2d(16, 32, 3, 2, 1, groups=4))

    _write(module, {"conv": fused})

    assert module.node is node
    assert module.class_path == "torch.nn.modules.container.Sequential"
    assert _names(module) == ["conv", "act"]
    assert module.child("conv").node is fused
    assert module.child("act").node is activation
    assert module.state == before
    assert family_of(module).read_as == "torch.nn Sequential"


def test_conv_of_an_old_file_becomes_a_sequential_in_the_way_that_file_names_classes(tmp_path) -> None:
    module = model_at(block("Conv_g"))
    module.node.args = (module.node.origin, Global("__builtin__", "object"), None)
    module.node.origin, module.node.how = Global("copy_reg", "_reconstructor"), "reduce"

    _write(module, {"conv": layer(tmp_path, nn.Conv2d(16, 32, 3, 2, 1, groups=4))})

    assert module.class_path == "torch.nn.modules.container.Sequential"
    assert module.node.origin == Global("copy_reg", "_reconstructor")
    assert module.node.args[1:] == (Global("__builtin__", "object"), None)


def test_a_conv_that_the_authors_code_fused_has_nothing_to_fuse_and_reads_as_conv_and_activation(tmp_path) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    module = made_up("models.common.Conv", {"conv": layer(tmp_path, conv), "act": layer(tmp_path, nn.SiLU())})
    from_getattr = made_up("builtins.getattr").node
    from_getattr.origin, from_getattr.how, from_getattr.args = (
        Global("builtins", "getattr"),
        "reduce",
        (module.node, "fuseforward"),
    )
    module.state["forward"] = from_getattr
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)

    (found,) = outputs(module, [x])

    assert family_of(module).deploy.slots(module) == ()
    torch.testing.assert_close(found, nn.functional.silu(conv(x)).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["RepConv_identity", "RepConv_groups_identity", "RepConv_stride"])
def test_rep_conv_keeps_one_convolution_and_its_branches_are_none(name, tmp_path) -> None:
    module = model_at(block(name))
    module.state["id_tensor"] = 1
    fused = layer(tmp_path, nn.Conv2d(16, 16, 3, padding=1))

    _write(module, {"rbr_reparam": fused})

    assert module.state["deploy"] is True
    assert [module.state[branch] for branch in ("rbr_dense", "rbr_1x1", "rbr_identity")] == [None] * 3
    assert sorted(_names(module)) == ["act", "rbr_reparam"]
    assert not module.has("id_tensor")
    assert family_of(module).deploy.slots(module) == ()
    assert len(outputs(module, [torch.randn(1, 16, 6, 5)])) == 1


def test_rep_conv_lists_only_the_branches_that_are_there() -> None:
    with_identity, without = model_at(block("RepConv_identity")), model_at(block("RepConv_stride"))

    (slot,) = family_of(with_identity).deploy.slots(with_identity)
    assert slot.consumes == ("rbr_dense", "rbr_1x1", "rbr_identity")
    (slot,) = family_of(without).deploy.slots(without)
    assert slot.consumes == ("rbr_dense", "rbr_1x1")


def test_rep_conv_orepa_keeps_one_convolution_and_no_branches_at_all(tmp_path) -> None:
    module = model_at(block("RepConv_OREPA_identity"))

    _write(module, {"rbr_reparam": layer(tmp_path, nn.Conv2d(16, 16, 3, padding=1))})

    assert module.state["deploy"] is True
    assert not any(module.has(branch) for branch in ("rbr_dense", "rbr_1x1", "rbr_identity"))
    assert len(outputs(module, [torch.randn(1, 16, 6, 5)])) == 1


def test_conv_bn_alone_keeps_its_class_without_the_norm(tmp_path) -> None:
    module = made_up(
        "models.common.ConvBN",
        {name: layer(tmp_path, part) for name, part in _conv_bn().items()},
    )

    _write(module, {"conv": layer(tmp_path, nn.Conv2d(3, 4, 1))})

    assert module.class_path == "models.common.ConvBN"
    assert not module.has("bn")
    assert family_of(module).deploy.slots(module) == ()
    assert len(outputs(module, [torch.randn(1, 3, 6, 5)])) == 1


def _conv_bn() -> dict[str, nn.Module]:
    return {"nonlinear": nn.Identity(), "conv": nn.Conv2d(3, 4, 1, bias=False), "bn": nn.BatchNorm2d(4)}


def _head_convolutions(head: Module, tmp_path) -> dict:
    shapes = [child.tensor("weight").shape for _, child in head.child("m").children()]
    return {f"m.{i}": layer(tmp_path, nn.Conv2d(c, out, 1)) for i, (out, c, _, _) in enumerate(shapes)}


def test_the_head_with_implicit_vectors_becomes_the_plain_one(tmp_path) -> None:
    head = model_at(block("IDetect"))
    convolutions = _head_convolutions(head, tmp_path)

    _write(head, convolutions)

    assert head.class_path == "models.yolo.Detect"
    assert not head.has("ia")
    assert not head.has("im")
    assert [child.node for _, child in head.child("m").children()] == list(convolutions.values())
    assert family_of(head).read_as == "YOLOv7 Detect"


@pytest.mark.parametrize("flag", ["end2end", "include_nms", "concat", "export"])
def test_a_head_whose_flags_the_plain_class_honours_keeps_its_class_with_neutral_vectors(flag, tmp_path) -> None:
    head = model_at(block("IDetect"))
    head.state[flag] = True
    before = {m.path: t for m in head.walk() for n, t in m.parameters() if n == "implicit"}

    _write(head, _head_convolutions(head, tmp_path))

    assert head.class_path == "models.yolo.IDetect"
    _assert_neutral(head)
    after = {m.path: t for m in head.walk() for n, t in m.parameters() if n == "implicit"}
    assert {path: (t.shape, t.dtype) for path, t in after.items()} == {p: (t.shape, t.dtype) for p, t in before.items()}
    assert family_of(head).deploy.slots(head) == ()


def _assert_neutral(head: Module) -> None:
    for name, neutral in (("ia", 0), ("im", 1)):
        for _, vector in head.child(name).children():
            assert bool((vector.tensor("implicit").read() == neutral).all())


def test_an_auxiliary_head_alone_keeps_its_class_with_neutral_vectors(tmp_path) -> None:
    head = model_at(block("IAuxDetect"))

    _write(head, _head_convolutions(head, tmp_path))

    assert head.class_path == "models.yolo.IAuxDetect"
    assert head.has("m2")
    _assert_neutral(head)
    assert family_of(head).deploy.slots(head) == ()


@pytest.mark.parametrize("name", ["IKeypoint_dw", "IBin"])
def test_heads_that_no_loader_fuses_get_complete_identities_for_their_vectors(name, tmp_path) -> None:
    head = model_at(block(name))
    kind = head.class_path
    fused = _head_convolutions(head, tmp_path)

    _write(head, {"m.1": fused["m.1"]})

    assert head.class_path == kind
    assert head.child("m").child("1").node is fused["m.1"]
    assert _is_identity(head.child("ia").child("1"))
    assert _is_identity(head.child("im").child("1"))
    assert head.child("ia").child("0").class_path == "models.common.ImplicitA"
    assert [slot.name for slot in family_of(head).deploy.slots(head)] == ["m.0"]


@pytest.mark.parametrize(("name", "kept"), [("RobustConv", "conv1x1"), ("RobustConv2", "conv_deconv")])
def test_robust_conv_folds_its_factor_and_keeps_its_name_as_none(name, kept, tmp_path) -> None:
    module = model_at(block(name))
    fused = layer(tmp_path, nn.Conv2d(16, 32, 1))

    _write(module, {kept: fused})

    assert module.child(kept).node is fused
    assert module.table("_parameters")["gamma"] is None
    assert family_of(module).deploy.slots(module) == ()
