"""The three YOLOv7 training checkpoints from end to end, held to what the original authors' code computed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.engine import fuse_checkpoint
from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.interpret.numeric import run
from app.engine.ir.checkpoint import find_model
from app.engine.ir.module import Module
from app.engine.verify.compare import relative_error
from app.options import FuseOptions
from app.report import Report
from tests.engine import yolov7_code

CHECKPOINTS = Path(__file__).resolve().parents[3] / "shared" / "checkpoints"
LOCAL = Path(__file__).resolve().parents[1] / "data"
FACTS = json.loads((LOCAL / "yolov7-facts.json").read_text())
NAMES = [name for name in FACTS if (CHECKPOINTS / name).is_file()]

pytestmark = pytest.mark.skipif(not NAMES, reason="the sample checkpoints are not beside the project")


@pytest.fixture(scope="module", params=NAMES)
def fused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Report]:
    name = request.param
    target = tmp_path_factory.mktemp("fused") / name
    return name, target, fuse_checkpoint(CHECKPOINTS / name, target, FuseOptions(), filename=name)


def oracle(name: str) -> dict[str, torch.Tensor]:
    return load_file(CHECKPOINTS / name.replace(".pt", ".oracle.safetensors"))


def outputs(path: Path, x: torch.Tensor, dtype: torch.dtype) -> Any:
    """What the numeric reading gives."""
    model = find_model(read_file(path).root).module
    return run(trace(model, [tuple(x.shape)], family_of).graph, [x], dtype)


@pytest.mark.parametrize("name", NAMES)
def test_the_numeric_reading_gives_the_original_outputs(name):
    wanted = oracle(name)

    boxes, maps = outputs(CHECKPOINTS / name, wanted["input"], torch.float32)

    heads = [wanted[key] for key in sorted(wanted) if key.startswith("head.")]
    exact = outputs(CHECKPOINTS / name, wanted["input"], torch.float64)
    noise = relative_error((wanted["output"], heads), exact)
    assert noise < 1e-2
    assert relative_error((boxes, list(maps)), (wanted["output"], heads)) <= 4 * noise


def test_nothing_foldable_is_left(fused):
    name, target, report = fused
    facts, summary = FACTS[name], report.summary

    assert (summary.parameters_before, summary.batch_norms_before) == (facts["parameters"], facts["batch_norms"])
    assert summary.batch_norms_after == 0
    assert summary.layers_refused == 0
    assert summary.parameters_after <= facts["own_fuse_parameters"]
    classes = {module.class_path for module in find_model(read_file(target).root).module.walk()}
    assert not {path for path in classes if "Implicit" in path or "IDetect" in path or "IAuxDetect" in path}


def test_equivalence_is_proved_within_the_limits(fused):
    _, _, report = fused
    proof = report.equivalence

    assert proof is not None
    assert proof.passed
    assert proof.scope == "model"
    assert proof.identity.relative < 1e-11
    assert proof.stored.relative <= 4 * proof.stored.noise
    assert proof.native.relative <= 4 * proof.native.noise
    assert all(part.error is not None and part.error.identity < 1e-11 for part in report.replaced)
    ((_, _, height, width),) = proof.probe.shape
    assert height != width


def test_the_output_runs_in_the_code_that_wrote_the_input(fused, monkeypatch):
    name, target, report = fused
    yolov7_code.install(monkeypatch)
    wanted = oracle(name)

    with torch.no_grad():
        boxes, maps = yolov7_code.attempt_load(target)(wanted["input"])

    heads = [wanted[key] for key in sorted(wanted) if key.startswith("head.")]
    assert relative_error((boxes, maps), (wanted["output"], heads)) <= 8 * report.equivalence.stored.noise


def test_the_output_in_float32_gives_the_original_outputs_within_their_own_noise(fused, monkeypatch, tmp_path):
    name, _, _ = fused
    report = fuse_checkpoint(CHECKPOINTS / name, tmp_path / name, FuseOptions(dtype="float32"), filename=name)
    yolov7_code.install(monkeypatch)
    wanted = oracle(name)

    with torch.no_grad():
        boxes, _ = yolov7_code.attempt_load(tmp_path / name)(wanted["input"])

    assert report.equivalence.native.relative < 1e-4
    assert float((boxes - wanted["output"]).abs().max()) <= 4 * FACTS[name]["own_fuse_error"]


def test_a_second_pass_changes_nothing(fused, tmp_path):
    name, target, first = fused

    second = fuse_checkpoint(target, tmp_path / name, FuseOptions(), filename=name)

    assert second.summary.layers_replaced == 0
    assert any("nothing to replace" in note for note in second.notes)
    assert second.output.sha256 == first.output.sha256


def test_the_same_input_gives_the_same_bytes(fused, tmp_path):
    name, _, first = fused

    again = fuse_checkpoint(CHECKPOINTS / name, tmp_path / name, FuseOptions(), filename=name)

    assert again.output.sha256 == first.output.sha256


def test_a_training_checkpoint_is_left_as_its_own_strip_step_leaves_it(fused):
    name, target, report = fused
    before, after = read_file(CHECKPOINTS / name).root, read_file(target).root

    assert list(after) == list(before)
    assert after["ema"] is None
    assert after["optimizer"] is None
    for key in ("epoch", "training_results", "updates", "wandb_id"):
        assert after[key] == before[key]
    dropped = before["ema"] is not None
    assert {part.path for part in report.removed if "." not in part.path} == (
        {"model", "optimizer"} if dropped else set()
    )


def test_auxiliary_heads_go_and_the_layers_are_renumbered(fused):
    name, target, report = fused
    model = find_model(read_file(target).root).module
    layers = [layer for _, layer in model.child("model").children()]

    assert [layer.attribute("i") for layer in layers] == list(range(len(layers)))
    assert [child for child, _ in model.child("model").children()] == [str(i) for i in range(len(layers))]
    yaml = model.attribute("yaml")
    assert len(yaml["backbone"]) + len(yaml["head"]) == len(layers)
    assert yaml["head"][-1][2] == "Detect"
    assert layers[-1].attribute("f") == yaml["head"][-1][0]
    assert layers[-1].attribute("type") == "models.yolo.Detect"
    sources = [(layer.attribute("i"), j) for layer in layers for j in _sources(layer)]
    assert set(model.attribute("save")) == {j % i for i, j in sources if j != -1}
    if "aux" in name:
        assert report.summary.layers_removed == 5
        assert len(layers) == 119


def _sources(layer: Module) -> list[int]:
    found = layer.attribute("f")
    return [found] if isinstance(found, int) else found
