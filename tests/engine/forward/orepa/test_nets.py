"""Whole networks of OREPA's blocks: files that the authors' own code wrote, and what its conversion leaves."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from app.engine import fuse_checkpoint
from app.engine.ir.module import Module
from app.engine.verify.compare import relative_error
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward import kept
from tests.engine.forward.inert import outputs
from tests.engine.forward.published import edited, model_of, moved

_FAMILY = "orepa-nets"


class Fused(NamedTuple):
    name: str
    source: Path
    target: Path
    report: Report


def _fuse(source: Path, target: Path, **options: object) -> Report:
    return fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name)


@pytest.fixture(scope="module", params=kept.names(_FAMILY))
def fused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    folder = tmp_path_factory.mktemp(request.param)
    source, target = kept.checkpoint(_FAMILY, request.param, folder), folder / "fused.pt"
    return Fused(request.param, source, target, _fuse(source, target))


def test_both_files_give_what_the_authors_code_gave(fused: Fused) -> None:
    inputs, expected = kept.oracle(_FAMILY, fused.name)

    exact = outputs(model_of(fused.source), inputs, torch.float64)
    noise = relative_error(expected, exact)

    assert noise < 1e-5
    assert relative_error(outputs(model_of(fused.source), inputs, torch.float32), expected) <= 4 * noise
    written = outputs(model_of(fused.target), inputs, torch.float64)
    assert relative_error(written, expected) <= noise + 8 * fused.report.equivalence.stored.noise


def test_as_much_is_left_as_by_the_authors_own_conversion(fused: Fused) -> None:
    summary, facts = fused.report.summary, kept.facts(_FAMILY)[fused.name]

    assert summary.parameters_before == facts["parameters"]
    assert summary.parameters_after == facts["own"]["parameters"]
    assert summary.convolutions_after == facts["own"]["convolutions"]
    assert summary.batch_norms_after == 0


def test_equivalence_is_proved_over_the_whole_model(fused: Fused) -> None:
    proof = fused.report.equivalence

    assert (proof.passed, proof.scope) == (True, "model")
    assert proof.identity.relative < 1e-11
    assert not any(part.assumed for part in fused.report.replaced)


def test_a_copy_under_another_path_is_read_by_its_structure_and_marked(fused: Fused, tmp_path: Path) -> None:
    copy = moved(fused.source, tmp_path / "copy.pt")

    report = _fuse(copy, tmp_path / "fused.pt")

    assert report.summary.parameters_after == fused.report.summary.parameters_after
    assert report.equivalence.scope == "model"
    assert all(part.assumed for part in report.replaced)


@pytest.mark.parametrize("fused", ["resnet"], indirect=True)
def test_a_residual_block_of_plain_convolutions_is_not_read_as_one(fused: Fused, tmp_path: Path) -> None:
    """Where its convolutions hold no activation, the class must call one itself, which its name does not tell."""

    def strip(model: Module) -> None:
        for part in model.walk():
            if part.class_path.endswith((".OREPA", ".ConvBN")):
                part.drop("nonlinear")

    copy, _ = edited(fused.source, tmp_path / "copy.pt", strip)

    report = _fuse(copy, tmp_path / "fused.pt")

    assert report.equivalence.scope != "model"
    assert {cut.code for cut in report.refused} == {"data-flow-not-proven"}
