"""Networks for small devices: whole modules that their authors' own code wrote, and what its conversion leaves."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from app.engine import fuse_checkpoint
from app.engine.forward.structure import below as at
from app.engine.ir.module import Module, ordered_dict
from app.engine.verify.compare import relative_error
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward import kept
from tests.engine.forward.inert import outputs
from tests.engine.forward.published import edited, model_of, moved

_FAMILY = "mobile"
_NAMES = kept.names(_FAMILY)
_FEW = ["repvit_plain", "levit"]  # for what does not depend on the network


few = pytest.mark.parametrize("fused", _FEW, indirect=True)


class Fused(NamedTuple):
    name: str
    source: Path
    target: Path
    report: Report


def _fuse(source: Path, target: Path, **options: object) -> Report:
    return fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name)


@pytest.fixture(scope="module", params=_NAMES)
def fused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    folder = tmp_path_factory.mktemp(request.param)
    source, target = kept.checkpoint(_FAMILY, request.param, folder), folder / "fused.pt"
    return Fused(request.param, source, target, _fuse(source, target))


def test_the_numeric_reading_gives_what_the_authors_code_gave(fused: Fused) -> None:
    inputs, expected = kept.oracle(_FAMILY, fused.name)

    found = outputs(model_of(fused.source), inputs, torch.float32)
    exact = outputs(model_of(fused.source), inputs, torch.float64)

    assert [part.shape for part in found] == [part.shape for part in expected]
    noise = relative_error(expected, exact)
    assert noise < 1e-4
    assert relative_error(found, expected) <= 4 * noise


def test_the_written_file_gives_the_authors_outputs_but_for_rounding(fused: Fused) -> None:
    inputs, expected = kept.oracle(_FAMILY, fused.name)

    found = outputs(model_of(fused.target), inputs, torch.float64)

    noise = relative_error(expected, outputs(model_of(fused.source), inputs, torch.float64))  # of the authors' fp32
    assert relative_error(found, expected) <= noise + 8 * fused.report.equivalence.stored.noise


def test_no_more_is_left_than_by_the_authors_own_conversion(fused: Fused) -> None:
    summary, facts = fused.report.summary, kept.facts(_FAMILY)[fused.name]

    assert summary.parameters_before == facts["parameters"]
    assert summary.parameters_after <= facts["own"]["parameters"]
    assert summary.convolutions_after <= facts["own"]["convolutions"]
    assert summary.batch_norms_after <= facts["own"]["norms"]


def test_equivalence_is_proved_over_the_whole_model(fused: Fused) -> None:
    proof = fused.report.equivalence

    assert proof.passed
    assert proof.scope == "model"
    assert proof.identity.relative < 1e-11
    assert not any(part.assumed for part in fused.report.replaced)


def test_a_fused_file_is_left_alone(fused: Fused, tmp_path: Path) -> None:
    second = _fuse(fused.target, tmp_path / "again.pt")

    assert not second.replaced
    assert second.output.sha256 == fused.report.output.sha256


def test_a_copy_of_the_code_under_another_path_is_read_by_its_structure_and_marked(
    fused: Fused, tmp_path: Path
) -> None:
    copy = _copy(fused.source, tmp_path)

    report = _fuse(copy, tmp_path / "fused.pt")
    strict = _fuse(copy, tmp_path / "strict.pt", strict=True)

    assert report.summary.parameters_after == fused.report.summary.parameters_after
    assert report.summary.batch_norms_after == fused.report.summary.batch_norms_after
    assert report.equivalence.scope == "model"
    assert report.replaced
    assert all(part.assumed for part in report.replaced)
    assert not strict.replaced


def _copy(source: Path, folder: Path, added: str = "") -> Path:
    """As `moved`, but what belongs to timm stays there."""
    theirs = {part.path: part.node.origin for part in model_of(source).walk() if part.class_path.startswith("timm.")}

    def back(model: Module) -> None:
        for part in model.walk():
            if part.path in theirs:
                part.set_class(theirs[part.path])
                part.state.pop(added, None)

    copy = moved(source, folder / "copy.pt", added=added)
    return edited(copy, folder / "moved.pt", back)[0]


def test_a_copy_with_another_member_is_not_proven(fused: Fused, tmp_path: Path) -> None:
    report = _fuse(_copy(fused.source, tmp_path, added="alpha"), tmp_path / "fused.pt")

    # What a Sequential holds is assumed to be called as a whole; the blocks around it are not known.
    assert all(part.assumed and part.read_as.startswith("torch.nn") for part in report.replaced)
    assert report.summary.batch_norms_after > fused.report.summary.batch_norms_after
    assert "data-flow-not-proven" in {refused.code for refused in report.refused}


@few
def test_a_block_in_a_network_that_nobody_knows_is_fused(fused: Fused, tmp_path: Path) -> None:
    def forget(model: Module) -> None:
        model.state["head_of_my_own"] = 1
        model.set_class(type(model.node.origin)("my_net.layers", "MyNet"))

    copy, _ = edited(fused.source, tmp_path / "copy.pt", forget)

    report = _fuse(copy, tmp_path / "fused.pt")

    assert report.equivalence.passed
    assert report.replaced
    assert report.summary.batch_norms_after <= fused.report.summary.batch_norms_after + 2  # those of the net's own


@few
def test_a_block_with_a_hook_is_left_alone(fused: Fused, tmp_path: Path) -> None:
    def hook(model: Module) -> str:
        path = next(part.path for part in fused.report.replaced if part.path)
        at(model, path).state["_forward_hooks"] = ordered_dict({0: None})
        return path

    copy, path = edited(fused.source, tmp_path / "copy.pt", hook)

    report = _fuse(copy, tmp_path / "fused.pt")

    assert path not in {part.path for part in report.replaced}
    written = at(model_of(tmp_path / "fused.pt"), path)
    assert list(written.member_names()) == list(at(model_of(copy), path).member_names())


def test_a_norm_that_keeps_no_statistics_stays_and_the_others_are_folded(fused: Fused, tmp_path: Path) -> None:
    def forget(model: Module) -> str:
        norm = next(part for part in model.walk() if part.class_path.endswith(".BatchNorm2d"))
        norm.table("_buffers").update(running_mean=None, running_var=None)
        return norm.path

    copy, path = edited(fused.source, tmp_path / "copy.pt", forget)

    report = _fuse(copy, tmp_path / "fused.pt")

    assert (path, "batch-norm-without-statistics") in {(refused.path, refused.code) for refused in report.refused}
    assert report.replaced
    assert at(model_of(tmp_path / "fused.pt"), path).class_path.endswith(".BatchNorm2d")
