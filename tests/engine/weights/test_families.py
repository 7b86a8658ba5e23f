"""State dicts of published families: as whole modules give, and as the authors' own conversion leaves them."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine import fuse_checkpoint, inspect_checkpoint
from app.errors import ArchitectureMismatch, InvalidOption, NeedsArchitecture, UnknownArchitecture
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward.published import Published, file_of, model_of, shipped

_FILES = {
    **dict.fromkeys(("acnet", "dbb"), ("blocks",)),
    "mobileone": ("model",),
    "orepa": ("blocks", "large", "repvgg"),
    "replknet": ("blocks", "model"),
    "repvgg": ("model", "squeeze", "plus", "plus_l2", "inserted_norms"),
    "unireplknet": ("block", "dilated", "model"),
}
_CASES = [
    pytest.param(file_of(family, name), id=f"{family}-{name}") for family, names in _FILES.items() for name in names
]

_FOLDED_TOO = ("prelkb_bn", "preffn_bn")  # norms that the authors' conversion leaves
_IN_NO_BLOCK = {"replknet-model": ["norm"]}  # in a whole module it goes into the classifier behind the mean
_OF_NO_BLOCK = {"replknet-model": ("norm.", "head.")}
_STATE_DICT = ".state_dict.pth"
_AUTHORS = {  # parameters and convolutions that the authors' conversion leaves of the files beside the repository
    "repvgg": (139_472, 21),
    "mobileone": (245_642, 43),
    "dbb": (6_490, 4),
    "acnet": (5_434, 3),
}


def state_dict_of(path: Path) -> "OrderedDict[str, Tensor]":
    """What `state_dict()` of the pickled model would give."""
    return OrderedDict(
        (module.at(name), tensor.read().clone())
        for module in model_of(path).walk()
        for name, tensor in module.tensors()
    )


def fused(source: Path, tmp_path: Path, **options: object) -> tuple[dict[str, Tensor], Report]:
    target = tmp_path / "fused.pth"
    report = fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name)
    return torch.load(target, weights_only=True), report


def saved(content: object, tmp_path: Path) -> Path:
    torch.save(content, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("case", _CASES)
def test_the_tensors_are_those_of_the_whole_module_bit_for_bit(case: Published, tmp_path: Path) -> None:
    fuse_checkpoint(case.path, tmp_path / "module.pt", FuseOptions(), filename="module.pt")

    found, report = fused(saved(state_dict_of(case.path), tmp_path), tmp_path, architecture=case.family)

    apart = _OF_NO_BLOCK.get(str(case), ())
    expected, found = (
        {name: tensor for name, tensor in one.items() if not name.startswith(apart)}
        for one in (state_dict_of(tmp_path / "module.pt"), found)
    )
    more = found.keys() - expected.keys()  # heads that serve training alone are not known as such by their names
    assert expected.keys() == found.keys() - more
    assert all("_aux." in name for name in more)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11
    assert not any(part.assumed for part in report.replaced)


@pytest.mark.parametrize("case", _CASES)
def test_names_and_shapes_are_those_of_the_authors_deploy_form(case: Published, tmp_path: Path) -> None:
    found, report = fused(saved(state_dict_of(case.path), tmp_path), tmp_path, architecture=case.family)

    deployed = case.facts["own_state"]
    gone = {name for name in deployed.keys() - found.keys() if name.split(".")[-2] in _FOLDED_TOO}
    left = {name: shape for name, shape in deployed.items() if name not in gone}
    assert {name: list(tensor.shape) for name, tensor in found.items() if name in left} == left
    norms = [cut.path for cut in report.refused if cut.code == "data-flow-not-proven"]
    assert norms == _IN_NO_BLOCK.get(str(case), [])
    assert report.summary.batch_norms_after == len(norms)
    if found.keys() == deployed.keys():
        assert report.summary.parameters_after == case.facts["own_deploy"]["parameters"]
        assert report.summary.convolutions_after == case.facts["own_deploy"]["convolutions"]


@pytest.mark.parametrize("case", _CASES)
def test_the_problem_of_a_bare_state_dict_proposes_its_family_first(case: Published, tmp_path: Path) -> None:
    source = saved(state_dict_of(case.path), tmp_path)

    with pytest.raises(NeedsArchitecture) as caught:
        fuse_checkpoint(source, tmp_path / "fused.pth", FuseOptions(), filename="weights.pth")

    assert caught.value.facts["matches"][0]["architecture"] == case.family
    assert f"architecture={case.family}" in inspect_checkpoint(source, filename="weights.pth").notes[0]


def test_a_prefix_and_the_keys_around_are_kept(tmp_path: Path) -> None:
    weights = state_dict_of(_CASES[0].values[0].path)
    wrapped = {"epoch": 7, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}
    plain, _ = fused(saved(weights, tmp_path), tmp_path, architecture="acnet")

    found, report = fused(saved(wrapped, tmp_path), tmp_path, architecture="acnet")

    assert found["epoch"] == 7
    assert list(found["state_dict"]) == [f"module.{name}" for name in plain]
    assert all(torch.equal(found["state_dict"][f"module.{name}"], plain[name]) for name in plain)
    assert report.input.detected.prefix == "module."
    assert report.input.detected.source == "state_dict"


def test_an_eps_that_is_given_is_the_one_that_is_folded(tmp_path: Path) -> None:
    weights = state_dict_of(_CASES[0].values[0].path)
    for name, tensor in weights.items():
        if name.endswith("running_var"):
            tensor += 0.5
    shifted, _ = fused(saved(weights, tmp_path), tmp_path, architecture="acnet")
    for name, tensor in weights.items():
        if name.endswith("running_var"):
            tensor -= 0.25

    found, _ = fused(saved(weights, tmp_path), tmp_path, architecture="acnet:eps=0.25001")

    for name in shifted:
        torch.testing.assert_close(found[name], shifted[name])


@pytest.mark.parametrize("case", _CASES)
def test_a_missing_tensor_and_one_too_many_are_named(case: Published, tmp_path: Path) -> None:
    weights = state_dict_of(case.path)
    lost = next(name for name in weights if name.endswith("running_var"))
    weights[lost.replace("running_var", "alpha")] = weights.pop(lost)

    with pytest.raises(ArchitectureMismatch) as caught:
        fused(saved(weights, tmp_path), tmp_path, architecture=case.family)

    assert caught.value.facts["missing"] == [lost]
    assert caught.value.facts["unexpected"] == [lost.replace("running_var", "alpha")]
    assert "1 tensors are missing" in caught.value.detail


@pytest.mark.parametrize("case", _CASES)
def test_a_shape_that_no_block_has_is_named(case: Published, tmp_path: Path) -> None:
    weights = state_dict_of(case.path)
    others = ("se.", "downsample")  # layers in no block
    name = next(
        name for name, tensor in weights.items() if tensor.ndim == 4 and not any(part in name for part in others)
    )
    weights[name] = weights[name].flatten()

    with pytest.raises(ArchitectureMismatch, match=name.replace(".", r"\.")):
        fused(saved(weights, tmp_path), tmp_path, architecture=case.family)


def test_a_file_of_another_family_is_told_apart(tmp_path: Path) -> None:
    weights = saved(state_dict_of(_CASES[0].values[0].path), tmp_path)

    with pytest.raises(ArchitectureMismatch, match="in a block of RepVGG"):
        fused(weights, tmp_path, architecture="repvgg")
    with pytest.raises(UnknownArchitecture, match="nobody here knows"):
        fused(weights, tmp_path, architecture="no-such-net")


@pytest.mark.parametrize(
    "architecture",
    ["repvgg:eps=x", "repvgg:eps=-1", "repvgg:eps", "repvgg:width=2", "repvgg:eps=true", '{"name": 3}', "{", "a b", ""],
)
def test_an_architecture_that_can_not_be_is_refused(architecture: str, tmp_path: Path) -> None:
    weights = saved(state_dict_of(_CASES[0].values[0].path), tmp_path)

    with pytest.raises(InvalidOption, match="architecture"):
        fused(weights, tmp_path, architecture=architecture)


@pytest.mark.parametrize("case", _CASES)
def test_a_fused_state_dict_is_left_alone(case: Published, tmp_path: Path) -> None:
    once, _ = fused(saved(state_dict_of(case.path), tmp_path), tmp_path, architecture=case.family)

    again, report = fused(saved(once, tmp_path), tmp_path, architecture=case.family)

    assert again.keys() == once.keys()
    assert all(torch.equal(again[name], once[name]) for name in once)
    assert not report.replaced
    assert any("in their deploy form already" in note for note in report.notes)


@pytest.mark.parametrize("family", [name for name in _AUTHORS if shipped(name).with_suffix(_STATE_DICT).is_file()])
def test_the_larger_files_come_out_as_the_authors_leave_them(family: str, tmp_path: Path) -> None:
    _, report = fused(shipped(family).with_suffix(_STATE_DICT), tmp_path, architecture=family)

    summary = report.summary
    assert (summary.parameters_after, summary.convolutions_after) == _AUTHORS[family]
    assert summary.batch_norms_after == 0


def test_a_tensor_without_real_numbers_is_told(tmp_path: Path) -> None:
    weights = state_dict_of(file_of("acnet", "blocks").path)
    name = next(name for name in weights if name.endswith("ver_bn.bias"))
    weights[name] = weights[name].long()

    with pytest.raises(ArchitectureMismatch, match="of another shape or dtype") as caught:
        fused(saved(weights, tmp_path), tmp_path, architecture="acnet")

    assert caught.value.facts["shapes"] == [f"{name} (int64)"]
