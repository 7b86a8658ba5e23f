"""State dicts in torch checkpoints: where they stand, what is kept around them, and what no state dict should hold."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from app.engine import fuse_checkpoint, inspect_checkpoint
from app.errors import AppError, MalformedFile, NothingToFuse, TooLarge, UnsupportedContent
from app.options import FuseOptions
from app.report import Report
from tests.engine.weights.nets import Odd, randomised

_PAIR = {"conv": "conv1", "norm": "bn1", "eps": 1e-3}


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return randomised(Odd()).state_dict()


def fused(content: object, tmp_path: Path, legacy: bool = False, **options: object) -> tuple[object, Report]:
    source, target = tmp_path / "in.pth", tmp_path / "out.pth"
    torch.save(content, source, _use_new_zipfile_serialization=not legacy)
    asked = {"plan": json.dumps({"pairs": [_PAIR]}), **options}
    report = fuse_checkpoint(source, target, FuseOptions(**asked), filename="in.pth")
    return torch.load(target, weights_only=True), report


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "keys",
    [
        "",
        "state_dict",
        "model",
        "model_state_dict",
        "params",
        "my_weights",
        "ema.module",
        "model.state_dict",
        "run.ema.module.state_dict",
    ],
)
def test_weights_come_back_where_they_were(keys: str, legacy: bool, weights: dict[str, Tensor], tmp_path: Path) -> None:
    content: object = weights
    for key in reversed(keys.split(".") if keys else []):
        content = {"epoch": 3, key: content}

    found, report = fused(content, tmp_path, legacy)

    assert report.input.detected.source == keys
    for key in keys.split(".") if keys else []:
        assert found["epoch"] == 3
        found = found[key]
    assert set(found) == {name for name in weights if not name.startswith("bn1.")} | {"conv1.bias"}
    assert list(found)[:2] == ["conv1.weight", "conv1.bias"]
    assert all(found[name].equal(weights[name]) for name in found if not name.startswith("conv1."))


@pytest.mark.parametrize(
    "averaged", ["ema", "model_ema", "ema_model", "state_dict_ema", "params_ema", "ema_state_dict"]
)
@pytest.mark.parametrize("other", ["model", "state_dict", "params"])
def test_averaged_weights_are_used_and_the_others_and_the_optimizer_dropped(
    averaged: str, other: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    raw = {f"module.{name}": tensor + 1 for name, tensor in weights.items()}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(1000)}}, "param_groups": []}

    found, report = fused({other: raw, averaged: weights, "optimizer": optimizer, "epoch": 9}, tmp_path)

    assert list(found) == [other, averaged, "optimizer", "epoch"]
    assert (found[other], found["optimizer"], found["epoch"]) == (None, None, 9)
    assert found[averaged]["conv2.weight"].equal(weights["conv2.weight"])
    assert {part.path: part.bytes for part in report.removed} == {
        "optimizer": 4000,
        other: sum(tensor.nbytes for tensor in raw.values()),
    }


def test_the_weights_of_another_network_beside_are_kept(weights: dict[str, Tensor], tmp_path: Path) -> None:
    other = nn.Linear(3, 3).state_dict()

    found, report = fused({"model": weights, "discriminator": other}, tmp_path)

    assert found["discriminator"].keys() == other.keys()
    assert not report.removed


def test_what_is_no_tensor_in_a_state_dict_is_kept(weights: dict[str, Tensor], tmp_path: Path) -> None:
    content = {"version": "1.0", **weights, "_extra_state": {"a": [1, 2]}}

    found, _ = fused(content, tmp_path)

    names = list(found)
    assert (names[0], names[-1]) == ("version", "_extra_state")
    assert found["_extra_state"] == {"a": [1, 2]}


def test_tied_tensors_stay_tied_and_are_not_folded(weights: dict[str, Tensor], tmp_path: Path) -> None:
    tied = {**weights, "decoder.weight": weights["fc.weight"], "copy.weight": weights["conv1.weight"]}

    found, report = fused(tied, tmp_path)

    assert found["decoder.weight"].data_ptr() == found["fc.weight"].data_ptr()
    assert found["copy.weight"].data_ptr() == found["conv1.weight"].data_ptr()
    assert ("bn1", "weights-shared") in {(part.path, part.code) for part in report.refused}


def test_parameters_stay_parameters(tmp_path: Path) -> None:
    net = randomised(Odd())
    kept = {**net.state_dict(), **dict(net.named_parameters())}

    found, _ = fused(kept, tmp_path)

    assert isinstance(found["conv1.weight"], nn.Parameter)
    assert isinstance(found["conv2.weight"], nn.Parameter)


def test_versions_of_modules_follow_the_tensors(weights: dict[str, Tensor], tmp_path: Path) -> None:
    fused(weights, tmp_path)

    found = torch.load(tmp_path / "out.pth", weights_only=False)
    assert "bn1" not in found._metadata
    assert found._metadata["bn3"] == {"version": 2}
    plain = Odd()
    plain.bn1, plain.conv1 = nn.Identity(), nn.Conv2d(3, 8, 3, stride=2, padding=1)
    plain.load_state_dict(found, strict=True)


def test_half_precision_is_kept_or_widened_as_asked(weights: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}

    kept, _ = fused(halves, tmp_path)
    wide, _ = fused(halves, tmp_path, dtype="float32")

    assert {tensor.dtype for tensor in kept.values()} == {torch.float16, torch.int64}
    assert {tensor.dtype for tensor in wide.values()} == {torch.float32, torch.int64}
    assert wide["conv2.weight"].equal(halves["conv2.weight"].float())


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [
        ("conv1.weight", float("nan"), "not finite"),
        ("bn1.weight", float("inf"), "not finite"),
        ("bn1.bias", float("nan"), "not finite"),
        ("bn1.running_mean", float("-inf"), "not finite"),
        ("bn1.running_var", float("nan"), "no root"),
        ("bn1.running_var", -1.0, "no root"),
    ],
)
def test_a_number_that_no_fold_can_use_is_named(
    name: str, number: float, said: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    weights[name].view(-1)[1] = number

    with pytest.raises(UnsupportedContent, match=said) as caught:
        fused(weights, tmp_path)

    assert caught.value.facts["tensor"] == name


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["a" + ".a" * 150], TooLarge),
        ([f"a{number}.{inner}.weight" for number in range(400) for inner in range(260)], TooLarge),
        (["\ud800.weight"], MalformedFile),
    ],
)
def test_names_that_no_model_has_end_in_an_error(
    names: list[str], error: type[AppError], weights: dict[str, Tensor], tmp_path: Path
) -> None:
    one = torch.zeros(1)

    with pytest.raises(error):
        fused({**weights, **dict.fromkeys(names, one)}, tmp_path)


def test_odd_names_are_kept(weights: dict[str, Tensor], tmp_path: Path) -> None:
    names = [
        "",
        ".",
        "a..b",
        ".a",
        "a.",
        "__proto__.weight",
        "../../x",
        "conv1",
        "conv1.weight.more",
        "bn3.running_var.x",
    ]
    odd = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}

    found, _ = fused({**weights, **odd}, tmp_path)

    assert all(found[name].equal(odd[name]) for name in names)
    assert "bn1.weight" not in found


def test_a_dictionary_without_weights_is_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(NothingToFuse):
        fused({"epoch": 3, "metrics": {"loss": [1.0]}}, tmp_path)


def test_inspecting_tells_names_and_figures(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, tmp_path / "in.pth")

    found = inspect_checkpoint(tmp_path / "in.pth", filename="in.pth").input.detected

    net = Odd()
    assert found.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert (found.batch_norms, found.convolutions) == (4, 3)
    assert (found.source, found.prefix) == ("state_dict", "module.")


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.bias", "bn1.running_var"])
def test_a_tensor_without_real_numbers_is_named(name: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    weights[name] = weights[name].int()

    with pytest.raises(AppError, match=name) as caught:
        fused(weights, tmp_path)

    assert caught.value.code == "invalid-plan"
