"""Taking out auxiliary heads: the layers, their numbers and the configuration."""

import copy

import pytest
import torch

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.forward.yolov7.layers import absolute, ancestors, renumbered, saved
from app.engine.ir.module import Module, ordered_dict
from app.engine.ir.node import Global
from tests.engine.forward.inert import block, made_up, model_at, models, outputs

_W6 = [path for path in models() if path.stem == "yolov7-w6-aux"]
_IMAGE = (1, 3, 128, 64)


def _neutral(head: Module) -> None:
    """As if its convolutions had been fused."""
    convolutions = {f"m.{name}": child.node for name, child in head.child("m").children()}
    family_of(head).deploy.write(head, convolutions)


def _layers(model: Module) -> list[Module]:
    return [layer for _, layer in model.child("model").children()]


@pytest.fixture
def w6() -> Module:
    if not _W6:
        pytest.skip("no whole models beside the repository")
    return model_at(_W6[0])


def test_the_w6_model_takes_the_form_of_its_authors_deploy_configuration(w6) -> None:
    auxiliary = list(_layers(w6)[-1].attribute("f"))
    before = copy.deepcopy(w6.state["yaml"])
    _neutral(_layers(w6)[-1])

    removed = family_of(w6).prune(w6)

    layers = _layers(w6)
    assert auxiliary == [114, 115, 116, 117, 118, 119, 120, 121]
    assert [part.path for part in removed] == [f"model.{i}" for i in (118, 119, 120, 121)] + ["model.122.m2"]
    assert all(part.bytes > 0 for part in removed)
    assert len(layers) == 119
    assert list(w6.child("model").table("_modules")) == [str(i) for i in range(119)]
    assert [layer.attribute("i") for layer in layers] == list(range(119))
    head = layers[-1]
    assert head.class_path == "models.yolo.Detect"
    assert head.attribute("type") == "models.yolo.Detect"
    assert head.attribute("f") == [114, 115, 116, 117]
    assert not any(head.has(name) for name in ("m2", "ia", "im"))
    assert head.attribute("np") == sum(t.numel for m in head.walk() for _, t in m.parameters())
    yaml = w6.state["yaml"]
    assert yaml["backbone"] == before["backbone"]
    assert yaml["head"] == [*before["head"][:-5], [[114, 115, 116, 117], 1, "Detect", before["head"][-1][3]]]
    assert {key: yaml[key] for key in yaml if key != "head"} == {key: before[key] for key in before if key != "head"}


def test_the_list_of_saved_layers_names_every_layer_that_is_read_later(w6) -> None:
    _neutral(_layers(w6)[-1])

    family_of(w6).prune(w6)

    read = [absolute(layer.attribute("f"), index) for index, layer in enumerate(_layers(w6))]
    needed = {source for index, sources in enumerate(read) for source in sources if source != index - 1}
    save = w6.state["save"]
    assert save == sorted(save)
    assert needed <= set(save)
    assert set(range(114, 118)) <= set(save)
    assert max(save) < 118


def test_pruning_does_not_change_what_the_model_computes(w6) -> None:
    torch.manual_seed(0)
    x = torch.rand(_IMAGE)
    _neutral(_layers(w6)[-1])
    before = outputs(w6, [x])

    family_of(w6).prune(w6)

    after = outputs(w6, [x])
    assert len(after) == len(before)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_second_pruning_changes_nothing(w6) -> None:
    _neutral(_layers(w6)[-1])
    family_of(w6).prune(w6)
    state = {key: copy.deepcopy(w6.state[key]) for key in ("yaml", "save")}
    numbers = [(layer.attribute("i"), layer.attribute("f"), layer.attribute("np")) for layer in _layers(w6)]

    assert family_of(w6).prune(w6) == []

    assert {key: w6.state[key] for key in state} == state
    assert [(layer.attribute("i"), layer.attribute("f"), layer.attribute("np")) for layer in _layers(w6)] == numbers


def test_a_head_that_was_not_fused_keeps_its_class_and_layers(w6) -> None:
    assert family_of(w6).prune(w6) == []

    assert len(_layers(w6)) == 123
    assert _layers(w6)[-1].class_path == "models.yolo.IAuxDetect"
    assert w6.state["yaml"]["head"][-1][2] == "IAuxDetect"


def test_a_head_whose_flags_the_plain_class_honours_is_not_pruned(w6) -> None:
    head = _layers(w6)[-1]
    head.state["concat"] = True
    _neutral(head)

    assert family_of(w6).prune(w6) == []

    assert head.class_path == "models.yolo.IAuxDetect"


def _small(head_name: str, sources: list[list[int] | int], head_from: list[int], named: object) -> Module:
    """A model of parameterless layers (16 channels at one scale, 64 at half of it) and a head of the tests' own."""
    head = model_at(block(head_name))
    layers = {}
    for i, source in enumerate(sources):
        kind = "models.common.MP" if isinstance(source, int) else "models.common.Concat"
        layers[str(i)] = made_up(kind, d=1, i=i, f=source, type=kind, np=0).node
    last = len(sources)
    head.state.update(i=last, f=head_from, type=head.class_path, np=-1)
    layers[str(last)] = head.node
    sequence = made_up("torch.nn.modules.container.Sequential", layers)
    half = last // 2
    entries = [[source, 1, "MP", []] for source in sources] + [[head_from, 1, named, ["nc", "anchors"]]]
    yaml = {"nc": 3, "backbone": entries[:half], "head": entries[half:]}
    return made_up("models.yolo.Model", {"model": sequence.node}, yaml=yaml, save=[])


def test_layers_between_are_removed_and_all_numbers_move_down() -> None:
    # 2 and 4 feed only the auxiliary inputs; 5 counts back over 4, and 6 names layers on both sides of the gap.
    model = _small("IAuxDetect", [-1, -1, 0, 1, 2, -2, [-1, 3, 1]], [3, 6, 2, 4], "models.yolo.IAuxDetect")
    _neutral(_layers(model)[-1])

    removed = family_of(model).prune(model)

    layers = _layers(model)
    assert [part.path for part in removed] == ["model.2", "model.4", "model.7.m2"]
    assert [layer.attribute("f") for layer in layers] == [-1, -1, 1, -1, [-1, 2, 1], [2, 4]]
    assert [layer.attribute("i") for layer in layers] == list(range(6))
    assert [entry[0] for part in ("backbone", "head") for entry in model.state["yaml"][part]] == [
        layer.attribute("f") for layer in layers
    ]
    assert model.state["yaml"]["head"][-1][2] == "Detect"
    assert model.state["save"] == [1, 1, 2, 2, 4]


def test_a_configuration_of_another_length_is_left_alone_but_for_the_name_of_the_head() -> None:
    model = _small("IAuxDetect", [-1, -1, 0, 1], [1, 3, 2, 2], Global("models.yolo", "IAuxDetect"))
    model.state["yaml"]["backbone"].pop()
    before = copy.deepcopy(model.state["yaml"])
    _neutral(_layers(model)[-1])

    family_of(model).prune(model)

    assert model.state["yaml"]["backbone"] == before["backbone"]
    assert [entry[0] for entry in model.state["yaml"]["head"]] == [entry[0] for entry in before["head"]]
    assert model.state["yaml"]["head"][-1][2] == Global("models.yolo", "Detect")


def test_a_fused_head_without_auxiliaries_is_named_in_type_and_configuration() -> None:
    model = _small("IDetect", [-1, -1], [0, 1], "IDetect")
    _neutral(_layers(model)[-1])

    assert family_of(model).prune(model) == []

    head = _layers(model)[-1]
    assert head.attribute("type") == "models.yolo.Detect"
    assert model.state["yaml"]["head"][-1][2] == "Detect"
    assert head.attribute("np") == sum(t.numel for m in head.walk() for _, t in m.parameters())


def test_a_model_without_a_configuration_is_pruned_as_well() -> None:
    model = _small("IAuxDetect", [-1, -1, 0, 1], [1, 3, 2, 2], "IAuxDetect")
    model.state["yaml"] = ordered_dict()
    _neutral(_layers(model)[-1])

    assert len(family_of(model).prune(model)) == 2
    assert len(_layers(model)) == 4


def test_numbers_that_count_back_are_resolved_and_kept_as_such() -> None:
    places = {0: 0, 1: 1, 3: 2, 5: 3}

    assert absolute([-1, -3, 2], 5) == [4, 2, 2]
    assert renumbered(-2, 3, places) == -1
    assert renumbered([-2, 3, 0], 5, places) == [-1, 2, 0]
    assert renumbered(-1, 0, places) == -1
    assert ancestors([3], [[-1], [0], [0], [2, -1]]) == {0, 2, 3}
    assert saved([-1, -1, [-1, 0], [-2, 0]]) == [0, 0, 1]


@pytest.mark.skipif(not _W6, reason="no whole models beside the repository")
def test_an_ensemble_gives_the_boxes_of_all_its_members_side_by_side_and_prunes_each() -> None:
    members = [model_at(_W6[0]), model_at(_W6[0])]
    ensemble = made_up("models.experimental.Ensemble", {str(i): m.node for i, m in enumerate(members)})
    _neutral(_layers(members[0])[-1])
    _neutral(_layers(members[1])[-1])
    single = trace(members[0], [_IMAGE], family_of).graph.output_values()[0].shape

    boxes, nothing = trace(ensemble, [_IMAGE], family_of).graph.outputs
    removed = family_of(ensemble).prune(ensemble)

    assert nothing is None
    assert boxes.shape == (single[0], 2 * single[1], single[2])
    assert len(removed) == 10
