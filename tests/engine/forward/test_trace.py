"""Following descriptions: where it stops and with which code, and which scope each operation gets."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from app.engine.forward.families import FAMILIES, family_of
from app.engine.forward.trace import trace
from app.engine.forward.vocabulary import UnknownFlow, Vocabulary, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, ordered_dict
from tests.engine.forward.inert import block, layer, made_up, model_at, outputs, read

_MAP = (2, 16, 8, 6)


class Unheard(nn.Module):
    """A class that nobody described."""


def _code(module: Module, *shapes: tuple[int, ...]) -> str:
    with pytest.raises(UnknownFlow) as refused:
        trace(module, shapes or [_MAP], family_of)
    return refused.value.code


def test_an_unknown_class_is_named_with_its_path(tmp_path) -> None:
    with pytest.raises(UnknownFlow, match="Unheard") as refused:
        trace(read(nn.Sequential(nn.ReLU(), Unheard()), tmp_path), [_MAP], family_of)

    assert refused.value.code == "class-not-known"
    assert refused.value.path == "1"


def test_no_maps_at_all_are_not_concatenated() -> None:
    with pytest.raises(UnknownFlow, match="nothing to concatenate"):
        Vocabulary().concat([])


@pytest.mark.parametrize("wrong", [{"stride": (1, None)}, {"groups": "1"}, {"padding": ((0, 0), (0, 1.5))}])
def test_a_convolution_of_other_sizes_than_integers_is_not_followed(wrong) -> None:
    weight = literal(torch.zeros(4, 16, 3, 3))
    with pytest.raises(UnknownFlow, match=r"are not those|groups|is none"):
        Vocabulary().conv(Value(_MAP), weight, **wrong)


def test_a_module_with_hooks_is_refused() -> None:
    module = model_at(block("Conv_g"))
    module.state["_forward_hooks"] = ordered_dict({0: "hook"})

    assert _code(module) == "has-hooks"


def test_an_inner_layer_with_hooks_is_refused() -> None:
    module = model_at(block("Conv_g"))
    module.child("bn").state["_forward_pre_hooks"] = ordered_dict({0: "hook"})

    assert _code(module) == "has-hooks"


def test_a_parametrized_layer_is_refused(tmp_path) -> None:
    plain = read(nn.Conv2d(16, 4, 1), tmp_path)
    plain.table("_modules")["parametrizations"] = layer(tmp_path, nn.ModuleDict())

    assert _code(plain) == "parametrized"


@pytest.mark.parametrize("name", ["Conv_g", "RepConv_identity", "IDetect"])
def test_an_instance_attribute_that_shadows_forward_is_refused(name) -> None:
    module = model_at(block(name))
    module.state["forward"] = "anything"

    assert _code(module, *family_of(module).example_shapes(module)) == "forward-replaced"


def test_an_instance_attribute_that_shadows_what_forward_calls_is_refused(tmp_path) -> None:
    module = read(nn.Conv2d(16, 4, 1), tmp_path)
    module.state["_conv_forward"] = "anything"

    assert _code(module) == "forward-replaced"


def test_a_class_of_known_name_and_other_structure_is_not_known() -> None:
    module = model_at(block("Conv_g"))
    module.table("_modules")["attention"] = module.table("_modules")["act"]

    assert family_of(module) is None
    assert _code(module) == "class-not-known"


def test_a_head_that_computes_its_anchor_grid_is_read_as_yolov5() -> None:
    head = model_at(block("Detect"))
    head.state["anchor_grid"] = [head.table("_buffers").pop("anchor_grid")]

    assert family_of(head).read_as == "YOLOv5 Detect"


def test_a_conv_without_norm_that_its_class_cannot_run_is_refused() -> None:
    module = model_at(block("Conv_g"))
    module.drop("bn")

    assert _code(module) == "structure-differs"


def test_a_head_without_strides_is_refused() -> None:
    head = model_at(block("IDetect"))
    head.drop("stride")

    assert _code(head, *family_of(head).example_shapes(head)) == "structure-differs"


def test_grouped_orepa_is_refused_as_its_published_class_cannot_run() -> None:
    module = model_at(block("RepConv_OREPA_identity"))
    module.child("rbr_dense").state["groups"] = 2

    with pytest.raises(UnknownFlow, match="groups > 1") as refused:
        trace(module, [_MAP], family_of)

    assert refused.value.code == "published-class-cannot-run"
    assert refused.value.path == "rbr_dense"


def test_heads_that_their_published_classes_cannot_run_are_refused() -> None:
    keypoint, binned = model_at(block("IKeypoint_dw")), model_at(block("IBin"))
    shapes = family_of(keypoint).example_shapes(keypoint), family_of(binned).example_shapes(binned)
    keypoint.state["nc"] = 2
    binned.child("w_bin_sigmoid").state["length"] = 11

    assert _code(keypoint, *shapes[0]) == "published-class-cannot-run"
    assert _code(binned, *shapes[1]) == "published-class-cannot-run"


def test_shapes_that_do_not_fit_are_refused() -> None:
    assert _code(model_at(block("Conv_g")), (2, 15, 8, 6)) == "shapes-differ"


def test_a_module_inside_itself_is_refused(tmp_path) -> None:
    module = read(nn.Sequential(nn.ReLU()), tmp_path)
    module.table("_modules")["1"] = module.node

    assert _code(module) == "calls-itself"


def test_an_in_place_layer_whose_input_is_read_afterwards_is_refused(tmp_path) -> None:
    def ghost(*layers: nn.Module) -> Module:
        parts = {"conv": layer(tmp_path, nn.Sequential(*layers)), "shortcut": layer(tmp_path, nn.Identity())}
        return made_up("models.common.Ghost", parts)

    assert _code(ghost(nn.ReLU(inplace=True))) == "works-in-place"
    assert trace(ghost(nn.ReLU()), [_MAP], family_of).graph.nodes
    assert trace(ghost(nn.Conv2d(16, 16, 1), nn.ReLU(inplace=True)), [_MAP], family_of).graph.nodes


def _scopes(module: Module, *shapes: tuple[int, ...]) -> dict[str, tuple[str, bool] | None]:
    nodes = trace(module, shapes or [_MAP], family_of).graph.nodes
    return {node.owner: (node.scope.path, node.scope.chain) if node.scope else None for node in nodes}


def test_a_plain_layer_belongs_to_a_chain(tmp_path) -> None:
    module = read(nn.Sequential(OrderedDict(conv=nn.Conv2d(16, 4, 1), bn=nn.BatchNorm2d(4))), tmp_path)

    assert _scopes(module) == {"conv": ("", True), "bn": ("", True)}


def test_what_is_written_in_a_block_without_deploy_form_belongs_nowhere() -> None:
    scopes = _scopes(model_at(block("Stem")), (2, 3, 8, 8))

    assert scopes[""] is None
    assert scopes["cv1.conv"] == scopes["cv1.bn"] == ("cv1", False)
    assert scopes["pool"] == ("", True)


def test_a_block_absorbs_the_inner_blocks_that_are_its_branches() -> None:
    scopes = _scopes(model_at(block("RepConv_OREPA_identity")))

    assert set(scopes.values()) == {("", False)}
    assert "rbr_1x1.bn" in scopes


def test_a_block_around_another_with_a_form_of_its_own_leaves_it_that_form() -> None:
    scopes = _scopes(model_at(block("RobustConv")))

    assert scopes["conv_dw.conv"] == scopes["conv_dw.bn"] == ("conv_dw", False)
    assert scopes["conv1x1"] == scopes[""] == ("", False)


def test_convolutions_beside_a_heads_own_keep_their_form() -> None:
    head = model_at(block("IKeypoint_dw"))
    scopes = _scopes(head, *family_of(head).example_shapes(head))

    assert scopes["m_kpt.0.0.bn"] == ("m_kpt.0.0", False)
    assert scopes["m.0"] == scopes["ia.0"] == ("", False)


def test_flags_of_the_plain_head_choose_what_it_gives() -> None:
    head = model_at(block("Detect"))
    shapes = family_of(head).example_shapes(head)
    inputs = [torch.randn(shape) for shape in shapes]
    boxes, *raw = outputs(head, inputs)

    def with_flag(name: str) -> list[torch.Tensor]:
        head.state[name] = True
        try:
            return outputs(head, inputs)
        finally:
            del head.state[name]

    assert [torch.equal(part, boxes) for part in with_flag("end2end")] == [True]
    assert [torch.equal(part, boxes) for part in with_flag("concat")] == [True]
    assert all(torch.equal(a, b) for a, b in zip(with_flag("export"), raw, strict=True))
    corners, scores = with_flag("include_nms")
    torch.testing.assert_close(corners[..., 2:] - corners[..., :2], boxes[..., 2:4], rtol=1e-12, atol=1e-9)
    torch.testing.assert_close((corners[..., 2:] + corners[..., :2]) / 2, boxes[..., :2], rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(scores, boxes[..., 5:] * boxes[..., 4:5], rtol=0, atol=0)


def test_every_described_class_has_a_name_and_a_path_or_a_structure_of_its_own() -> None:
    described = [(family.read_as, frozenset(family.class_paths), family.fits) for family in FAMILIES]

    assert len(set(described)) == len(described)
    assert all("." in path for family in FAMILIES for path in family.class_paths)


def test_an_attribute_of_another_kind_than_the_class_keeps_ends_the_flow_with_a_reason(tmp_path) -> None:
    module = made_up("models.common.Concat", d="across")

    with pytest.raises(UnknownFlow, match="its attributes are not those of its class") as caught:
        trace(module, [(1, 2, 3, 3), (1, 2, 3, 3)], family_of)

    assert caught.value.code == "structure-differs"
