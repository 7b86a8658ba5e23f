"""State dicts of torchvision's and timm's own models: fused, loaded strictly into the packages' models, and run."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.engine import fuse_checkpoint
from app.engine.zoo.deployed import deployed, loaded
from app.errors import ArchitectureMismatch, NeedsArchitecture, UnknownArchitecture
from app.options import FuseOptions
from app.report import Report
from tests.engine.zoo.nets import trained


def fuse(tmp_path: Path, saved: Any, **options: Any) -> tuple[Report, Path]:
    source, target = tmp_path / "weights.pth", tmp_path / "fused.pth"
    torch.save(saved, source)
    return fuse_checkpoint(source, target, FuseOptions(**options), filename="weights.pth"), target


def without_norms(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The model as a user would change it: norms without tensors make way, convolutions get a bias; loaded strictly."""
    for path, module in list(model.named_modules()):
        if hasattr(module, "running_var") and f"{path}.running_var" not in state:
            above, _, name = path.rpartition(".")
            left = [module.drop, module.act] if hasattr(module, "act") else []
            model.get_submodule(above)._modules[name] = nn.Sequential(*left)
        elif getattr(module, "bias", module) is None and f"{path}.bias" in state:
            module.bias = nn.Parameter(torch.empty_like(state[f"{path}.bias"]))
    model.load_state_dict(state, strict=True)
    return model.eval().requires_grad_(False)


def image(*sizes: int) -> Tensor:
    return torch.rand(sizes, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_fused_state_dict_of_timm_loads_strictly_and_computes_the_same(
    timm: ModuleType, tmp_path: Path, name: str
) -> None:
    model = trained(timm.create_model(name, num_classes=7))
    saved = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}

    report, target = fuse(tmp_path, saved, architecture=f"timm/{name}")

    state = torch.load(target)["state_dict"]
    state = {key.removeprefix("module."): value for key, value in state.items()}
    fused = without_norms(timm.create_model(name, num_classes=7), state)
    x = image(2, 3, 64, 64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-4)
    assert report.summary.batch_norms_before > report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.scope == "model"
    assert report.equivalence.witness == f"timm {timm.__version__}"
    assert report.equivalence.identity.relative < 1e-11
    assert report.input.detected.classes == 7


def test_a_fused_repvgg_loads_strictly_into_the_form_that_timm_deploys(timm: ModuleType, tmp_path: Path) -> None:
    model = trained(timm.create_model("repvgg_a0", num_classes=7))
    reparameterize_model = importlib.import_module("timm.utils.model").reparameterize_model

    report, target = fuse(tmp_path, model.state_dict(), architecture="timm/repvgg_a0")

    deployed = reparameterize_model(timm.create_model("repvgg_a0", num_classes=7))
    deployed.load_state_dict(torch.load(target), strict=True)
    x = image(1, 3, 64, 64)
    torch.testing.assert_close(deployed.eval()(x), model(x), rtol=1e-3, atol=1e-3 * float(model(x).abs().max()))
    assert (report.summary.batch_norms_after, report.summary.convolutions_after) == (0, 22)


# Blocks that sum and scale beside their layers, in the smallest sizes that have all of them.
_GATED = {"embed_dim": [8, 16, 24], "depths": [1, 1, 1], "state_dim": [9, 4, 4]}
_CASCADED = {"embed_dim": [16, 24, 32], "key_dim": [8, 8, 8], "num_heads": [2, 2, 2], "depth": [1, 1, 1]}
_SCALED = {"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 32, 32]}


@pytest.mark.parametrize(
    ("name", "sizes"), [("efficientvim_m1", _GATED), ("efficientvit_m0", _CASCADED), ("fastvit_mci0", _SCALED)]
)
def test_what_stands_beside_the_layers_of_a_block_keeps_no_norm_from_them(
    timm: ModuleType, tmp_path: Path, name: str, sizes: dict[str, Any]
) -> None:
    arguments = {"num_classes": 5, **sizes}
    model = trained(timm.create_model(name, **arguments))

    asked = json.dumps({"name": f"timm/{name}", "arguments": arguments})
    report, target = fuse(tmp_path, model.state_dict(), architecture=asked)

    state = torch.load(target)
    fused = loaded(deployed(timm.create_model(name, **arguments), state), state)
    x = image(2, 3, *model.pretrained_cfg["input_size"][1:])
    torch.testing.assert_close(fused(x), model(x), rtol=1e-3, atol=1e-3 * float(model(x).abs().max()))
    assert report.summary.batch_norms_before > report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.scope == "model"
    assert report.equivalence.witness == f"timm {timm.__version__}"


def test_blocks_that_are_deployed_already_stay_and_the_others_are_fused(timm: ModuleType, tmp_path: Path) -> None:
    arguments = {"num_classes": 5, "layers": [1, 1, 1, 1], "embed_dims": [8, 16, 32, 64]}
    model = trained(timm.create_model("fastvit_t8", **arguments))
    reparameterize_model = importlib.import_module("timm.utils.model").reparameterize_model
    model.stages[0] = reparameterize_model(model.stages[0]).requires_grad_(False)
    before = dict(model.state_dict())

    asked = json.dumps({"name": "timm/fastvit_t8", "arguments": arguments})
    report, target = fuse(tmp_path, before, architecture=asked)

    state = torch.load(target)
    fused = loaded(deployed(timm.create_model("fastvit_t8", **arguments), state), state)
    x = image(2, 3, 64, 64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-3, atol=1e-3 * float(model(x).abs().max()))
    kept = [name for name in before if name.startswith("stages.0") and "reparam_conv" in name]
    assert len(kept) == 2
    assert all(state[name].equal(before[name]) for name in kept)
    assert report.summary.batch_norms_before > report.summary.batch_norms_after == 0
    assert any("in the form already that their class deploys" in note for note in report.notes)


def test_whole_numbers_in_the_place_of_weights_are_refused(timm: ModuleType, tmp_path: Path) -> None:
    state = trained(timm.create_model("test_resnet")).state_dict()
    quantised = {name: value.to(torch.int8) if value.ndim == 4 else value for name, value in state.items()}

    with pytest.raises(ArchitectureMismatch, match=r"conv1\.0\.weight: int8, should be a float dtype"):
        fuse(tmp_path, quantised, architecture="timm/test_resnet")


def test_a_name_that_both_packages_have_is_read_as_torchvision_and_said(
    torchvision: ModuleType, timm: ModuleType, tmp_path: Path
) -> None:
    model = trained(torchvision.models.resnet18(num_classes=3))

    report, target = fuse(tmp_path, model.state_dict(), architecture="resnet18")

    fused = without_norms(torchvision.models.resnet18(num_classes=3), torch.load(target))
    x = image(2, 3, 64, 64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-4)
    assert any("torchvision's was taken" in note for note in report.notes)
    assert any("num_classes=3 follows from the shapes" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_weights_come_back_as_a_program_that_needs_no_code(timm: ModuleType, tmp_path: Path, kind: str) -> None:
    model = trained(timm.create_model("test_resnet", num_classes=7))

    report, target = fuse(tmp_path, model.state_dict(), architecture="timm/test_resnet", output=kind)

    x = image(3, 3, *model.pretrained_cfg["input_size"][1:])
    torch.testing.assert_close(run_program(target, kind, x), model(x), rtol=1e-4, atol=1e-4)
    assert report.output.filename == f"weights.fused.{kind}"
    assert report.summary.batch_norms_after == 0
    assert report.input.detected.variant == "test_resnet"


def run_program(path: Path, kind: str, x: Tensor) -> Tensor:
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
    with path.open("rb") as file:
        return torch.export.load(file).module()(x)


def test_a_name_that_no_package_has_is_answered_with_near_ones(timm: ModuleType, tmp_path: Path) -> None:
    state = trained(timm.create_model("test_resnet")).state_dict()

    with pytest.raises(UnknownArchitecture) as caught:
        fuse(tmp_path, state, architecture="timm/repvg_a0")

    assert "timm/repvgg_a0" in caught.value.facts["near_matches"]


def test_weights_of_another_model_are_refused_with_the_names_that_differ(timm: ModuleType, tmp_path: Path) -> None:
    state = trained(timm.create_model("test_resnet")).state_dict()

    with pytest.raises(ArchitectureMismatch) as caught:
        fuse(tmp_path, state, architecture="timm/vit_giant_patch14_clip_224")

    assert "blocks.0.attn.qkv.weight" in caught.value.facts["missing"]


def test_without_an_architecture_the_best_matches_are_listed(timm: ModuleType, tmp_path: Path) -> None:
    state = trained(timm.create_model("test_efficientnet")).state_dict()

    with pytest.raises(NeedsArchitecture) as caught:
        fuse(tmp_path, state)

    assert caught.value.facts["matches"][0]["architecture"] == "timm/test_efficientnet"


@pytest.mark.parametrize(
    ("prefix", "beside"),
    [
        ("module.", {"n_averaged": torch.tensor(7)}),
        ("model.", {"criterion.weight": torch.ones(7), "loss_fn.embed.weight": torch.ones(3, 2)}),
    ],
)
def test_what_stands_beside_the_names_of_a_model_stays_as_it_is(
    timm: ModuleType, tmp_path: Path, prefix: str, beside: dict[str, Tensor]
) -> None:
    model = trained(timm.create_model("test_resnet", num_classes=7))
    saved = {**beside, **{f"{prefix}{key}": value for key, value in model.state_dict().items()}}

    report, target = fuse(tmp_path, {"state_dict": saved}, architecture="timm/test_resnet")

    state = torch.load(target)["state_dict"]
    assert list(state)[: len(beside)] == list(beside)
    assert all(state[name].equal(value) for name, value in beside.items())
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    assert len(own) + len(beside) == len(state)
    x = image(2, 3, 64, 64)
    fused = without_norms(timm.create_model("test_resnet", num_classes=7), own)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-4)
    assert report.equivalence is not None
    assert report.equivalence.witness.startswith("timm")
    assert report.summary.batch_norms_after == 0
    assert report.input.detected.prefix == prefix
    assert any(all(name in note for name in beside) for note in report.notes)
    assert not any("all names" in note for note in report.notes)


def test_what_stands_beside_the_names_of_a_model_does_not_hide_which_model_it_is(
    timm: ModuleType, tmp_path: Path
) -> None:
    state = timm.create_model("test_resnet").state_dict()
    saved = {"n_averaged": torch.tensor(7), **{f"module.{key}": value for key, value in state.items()}}

    with pytest.raises(NeedsArchitecture) as caught:
        fuse(tmp_path, saved)

    assert caught.value.facts["matches"][0]["architecture"] == "timm/test_resnet"


@pytest.mark.parametrize("names", [("student.", "teacher."), ("model.", "swa_model.module.")])
def test_of_two_copies_of_a_model_none_is_chosen(timm: ModuleType, tmp_path: Path, names: tuple[str, str]) -> None:
    state = timm.create_model("test_resnet").state_dict()
    saved = {f"{prefix}{key}": value for prefix in names for key, value in state.items()}

    with pytest.raises(ArchitectureMismatch):
        fuse(tmp_path, saved, architecture="timm/test_resnet")
