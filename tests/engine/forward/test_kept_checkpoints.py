"""Checkpoints of YOLO code bases, from end to end, held to what the original classes computed."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

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
from tests.engine.forward import kept
from tests.engine.forward.inert import tensors_in

FAMILIES = ("yolov5", "ultralytics", "yolov9", "yolov6", "rtdetr", "yolox", "mmcv")
CASES = [(family, name) for family in FAMILIES for name in kept.names(family)]
# Which of its two heads a loader of YOLO26 reads is its own choice: both are kept.
BOTH_HEADS = [("ultralytics", "yolo26")]


# Classes that a loader, or a conversion script, folds wherever it meets one.
FOLDED_AGAIN = (
    *(f"models.common.{name}" for name in ("Conv", "DWConv", "RepConvN")),
    *(f"ultralytics.nn.modules.conv.{name}" for name in ("Conv", "Conv2", "DWConv", "RepConv", "ConvTranspose")),
    "ultralytics.nn.modules.Conv",
    "ultralytics.nn.modules.block.RepVGGDW",
    *(f"yolov6.layers.common.{name}" for name in ("ConvModule", "Conv", "SimConv", "Conv_C3")),
    "yolox.models.network_blocks.BaseConv",
    "src.zoo.rtdetr.hybrid_encoder.RepVggBlock",
)


class Fused(NamedTuple):
    family: str
    name: str
    source: Path
    target: Path
    report: Report

    @property
    def facts(self) -> dict:
        return kept.facts(self.family)[self.name]


@pytest.fixture(scope="module", params=CASES, ids="/".join)
def fused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    family, name = request.param
    folder = tmp_path_factory.mktemp(name)
    source, target = kept.checkpoint(family, name, folder), folder / "fused.pt"
    return Fused(family, name, source, target, fuse_checkpoint(source, target, FuseOptions(), filename=source.name))


def _model(path: Path) -> Module:
    return find_model(read_file(path).root).module


def _outputs(path: Path, inputs: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    graph = trace(_model(path), [tuple(x.shape) for x in inputs], family_of).graph
    return list(tensors_in(run(graph, inputs, dtype)))


def test_the_numeric_reading_gives_what_the_original_classes_gave(fused: Fused) -> None:
    inputs, expected = kept.oracle(fused.family, fused.name)

    found = _outputs(fused.source, inputs, torch.float32)[: len(expected)]

    exact = _outputs(fused.source, inputs, torch.float64)[: len(expected)]
    assert [part.shape for part in found] == [part.shape for part in expected]
    noise = relative_error(expected, exact)
    assert noise < 1e-4
    assert relative_error(found, expected) <= 4 * noise


def test_the_written_file_gives_the_original_outputs_but_for_rounding(fused: Fused) -> None:
    inputs, expected = kept.oracle(fused.family, fused.name)

    found = _outputs(fused.target, inputs, torch.float64)[: len(expected)]

    assert [part.shape for part in found] == [part.shape for part in expected]
    assert relative_error(found, expected) <= 8 * fused.report.equivalence.stored.noise


def test_no_more_is_left_than_after_the_authors_own_fuse_step(fused: Fused) -> None:
    summary, facts = fused.report.summary, fused.facts

    assert summary.parameters_before == facts["parameters"]
    assert summary.batch_norms_after == 0
    if (fused.family, fused.name) not in BOTH_HEADS:
        assert summary.parameters_after <= facts["own_fuse_parameters"]
        assert summary.convolutions_after <= facts["convolutions"]


def test_equivalence_is_proved_over_the_whole_model(fused: Fused) -> None:
    proof = fused.report.equivalence

    assert proof.passed
    assert proof.scope == "model"
    assert proof.identity.relative < 1e-11


def test_a_second_pass_changes_nothing(fused: Fused, tmp_path: Path) -> None:
    second = fuse_checkpoint(fused.target, tmp_path / "again.pt", FuseOptions(), filename="fused.pt")

    assert second.summary.layers_replaced == 0
    assert second.output.sha256 == fused.report.output.sha256


def test_no_class_that_a_loader_folds_once_more_is_left(fused: Fused) -> None:
    left = {module.class_path for module in _model(fused.target).walk()}

    assert not left & set(FOLDED_AGAIN)


def test_whole_models_are_known_by_their_facts(fused: Fused) -> None:
    module = _model(fused.source)
    family = family_of(module)
    if fused.name == "blocks":
        assert family.facts is None
        return

    known = family.facts(module)

    named = {
        "yolov5": "YOLOv5",
        "ultralytics": "Ultralytics YOLO",
        "yolov9": "YOLOv9",
        "yolox": "YOLOX",
        "yolov6": "YOLOv6",
    }
    assert known["family"] == named[fused.family]
    assert known["channels"] == 3
    assert family.runs_in == "float32"


@pytest.mark.parametrize("name", ["yolov9", "yolov9-triple"])
def test_auxiliary_branches_go_and_the_main_one_stands_alone(name: str, tmp_path: Path) -> None:
    """As the authors' conversion to their one-branch models: as many parameters are left as in one of those, fused."""
    source, target = kept.checkpoint("yolov9", name, tmp_path), tmp_path / "fused.pt"

    report = fuse_checkpoint(source, target, FuseOptions(), filename=source.name)

    model = _model(target)
    layers = [layer for _, layer in model.child("model").children()]
    head = layers[-1]
    assert head.class_path == {"yolov9": "models.yolo.DDetect", "yolov9-triple": "models.yolo.Detect"}[name]
    assert [child for child, _ in head.children()] == ["cv2", "cv3", "dfl"]
    assert [layer.attribute("i") for layer in layers] == list(range(len(layers)))
    assert model.attribute("yaml")["head"][-1][2] == head.class_path.rpartition(".")[2]
    assert model.attribute("yaml")["head"][-1][0] == head.attribute("f") == [9, 12]
    assert model.attribute("save") == [3, 6, 9, 12]
    if name == "yolov9":
        assert report.summary.parameters_after == kept.facts("yolov9")["gelan"]["own_fuse_parameters"]
