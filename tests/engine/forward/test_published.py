"""Every published family against files, outputs and deploy forms that the authors' own code produced."""

from pathlib import Path

import pytest
import torch

from app.engine.forward.structure import below as at
from app.engine.ir.module import Module, ordered_dict
from app.engine.ir.node import Global
from app.engine.ir.tensors import parameter
from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward.inert import outputs
from tests.engine.forward.published import Published, edited, model_of, moved, published, shipped
from tests.engine.forward.stand_ins.install import install

_CASES = published()
_BLOCKS = ("RepVGGBlock", "RepVGGplusBlock", "MobileOneBlock", "DiverseBranchBlock")
_EPS = torch.finfo(torch.float32).eps
_AUTHORS = {  # parameters and convolutions that the authors' conversion leaves of the files beside the repository
    "repvgg": (139_472, 21),
    "mobileone": (245_642, 43),
    "dbb": (6_490, 4),
    "acnet": (5_434, 3),
}


def _fused(path: Path, tmp_path: Path, **options: object) -> tuple[Path, Report]:
    target = tmp_path / "fused.pt"
    return target, fuse_checkpoint(path, target, FuseOptions(**options), filename=path.name)


@pytest.mark.parametrize("case", _CASES)
def test_the_numeric_reading_gives_what_the_authors_code_gave(case: Published) -> None:
    x, expected = case.oracle

    found, *_ = outputs(case.model(), [x], torch.float64)

    limit = 64 * _EPS * float(expected.abs().max())
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=limit)


@pytest.mark.parametrize("case", _CASES)
def test_no_more_is_left_than_by_the_authors_own_conversion(case: Published, tmp_path: Path) -> None:
    _, report = _fused(case.path, tmp_path)
    facts, summary = case.facts, report.summary

    assert summary.parameters_before == facts["parameters_before"]
    assert summary.parameters_after <= facts["own_deploy"]["parameters"]
    assert summary.convolutions_after <= facts["own_deploy"]["convolutions"]
    assert summary.batch_norms_after <= facts["own_deploy"]["norms"]
    assert report.equivalence.passed
    assert report.equivalence.scope == "model"
    assert report.equivalence.identity.relative < 1e-11
    assert not any(part.assumed for part in report.replaced)


@pytest.mark.parametrize("case", _CASES)
def test_what_is_written_has_the_tensors_of_the_authors_deploy_form(case: Published, tmp_path: Path) -> None:
    target, _ = _fused(case.path, tmp_path)

    written = {part.at(name): list(tensor.shape) for part in model_of(target).walk() for name, tensor in part.tensors()}

    own = case.facts["own_state"]
    assert written.items() <= own.items()
    # Where their conversion leaves a norm before a convolution, ours does not.
    assert case.facts["own_deploy"]["norms"] or written == own


@pytest.mark.parametrize("case", _CASES)
def test_the_deployed_classes_give_the_same_outputs(case: Published, tmp_path: Path, monkeypatch) -> None:
    target, _ = _fused(case.path, tmp_path)
    install(monkeypatch)
    x, expected = case.oracle

    loaded = torch.load(target, weights_only=False).eval()

    with torch.no_grad():
        found = loaded(x)
        found = found["main"] if isinstance(found, dict) else found
        torch.testing.assert_close(found, expected, rtol=0, atol=256 * _EPS * float(expected.abs().max()))


@pytest.mark.parametrize("case", _CASES)
def test_a_fused_file_is_left_alone(case: Published, tmp_path: Path) -> None:
    target, first = _fused(case.path, tmp_path)

    second = fuse_checkpoint(target, tmp_path / "again.pt", FuseOptions(), filename=target.name)

    assert not second.replaced
    assert second.summary.parameters_after == first.summary.parameters_after


@pytest.mark.parametrize("case", _CASES)
def test_a_copy_of_the_code_under_another_path_is_read_by_its_structure_and_marked(
    case: Published, tmp_path: Path
) -> None:
    copy = moved(case.path, tmp_path / "copy.pt")

    _, report = _fused(copy, tmp_path)
    _, strict = _fused(copy, tmp_path, strict=True)

    assert report.summary.parameters_after <= case.facts["own_deploy"]["parameters"]
    assert report.replaced
    assert all(part.assumed for part in report.replaced)
    assert {part.class_path for part in report.read_as if part.assumed} >= {
        part.class_path for part in report.read_as if part.class_path.startswith("my_net.")
    }
    assert not strict.replaced
    assert "data-flow-assumed" in {refused.code for refused in strict.refused}


@pytest.mark.parametrize("case", _CASES)
def test_a_copy_with_another_member_is_not_proven(case: Published, tmp_path: Path) -> None:
    copy = moved(case.path, tmp_path / "copy.pt", added="alpha")

    _, report = _fused(copy, tmp_path)

    # What a Sequential holds is assumed to be called as a whole; the block around it is not known.
    assert {part.read_as for part in report.replaced} <= {"torch.nn convolution"}
    assert all(part.assumed for part in report.replaced)
    left = report.summary.batch_norms_after > 0
    assert left == ("data-flow-not-proven" in {refused.code for refused in report.refused})


@pytest.mark.parametrize("case", published("repvgg", "mobileone", "dbb"))
def test_a_block_changed_under_its_own_path_is_not_read_as_the_published_one(case: Published, tmp_path: Path) -> None:
    def weigh(model: Module) -> str:
        block = next(part for part in model.walk() if part.class_path.endswith(_BLOCKS))
        block.table("_parameters")["alpha"] = parameter(torch.ones(1), location="cpu", owned=True)
        return block.path

    def note(model: Module) -> None:
        for part in model.walk():
            part.state.update({} if part.class_path.startswith("torch.") else {"alpha": 0.5})

    weighed, path = edited(case.path, tmp_path / "weighed.pt", weigh)
    _, report = _fused(weighed, tmp_path)
    assert path not in {part.path for part in report.replaced}

    noted, _ = edited(case.path, tmp_path / "noted.pt", note)
    _, report = _fused(noted, tmp_path)
    _, strict = _fused(noted, tmp_path, strict=True)

    assert report.replaced
    assert all(part.assumed for part in report.replaced)
    assert not strict.replaced


def test_a_norm_whose_numbers_its_padding_reads_stays_where_the_block_around_is_not_known(tmp_path: Path) -> None:
    def rename(model: Module) -> None:
        for part in model.walk():
            if part.class_path.endswith(".DiverseBranchBlock"):
                part.set_class(Global("my_net.layers", "MyBlock"))

    case = published("dbb")[0].values[0]
    copy, _ = edited(case.path, tmp_path / "copy.pt", rename)

    target, report = _fused(copy, tmp_path)

    assert report.replaced
    padding = [part for part in model_of(target).walk() if part.class_path.endswith(".BNAndPadLayer")]
    assert padding
    assert all(part.child("bn").class_path.endswith(".BatchNorm2d") for part in padding)


def test_a_block_whose_padding_takes_other_numbers_than_its_norm_is_left(tmp_path: Path) -> None:
    def deny(model: Module) -> list[str]:
        padding = [part for part in model.walk() if part.class_path.endswith(".BNAndPadLayer")]
        norms = [part.child("bn") for part in padding if part.attribute("pad_pixels", 0) > 0]
        for norm in norms:
            norm.state["affine"] = False
        return [norm.path for norm in norms]

    case = published("dbb")[0].values[0]
    copy, paths = edited(case.path, tmp_path / "copy.pt", deny)

    target, report = _fused(copy, tmp_path)

    left = {part.path for part in model_of(target).walk() if part.class_path.endswith(".BatchNorm2d")}
    assert paths
    assert left >= set(paths)
    assert not any(path.startswith(f"{replaced.path}.") for path in paths for replaced in report.replaced)


@pytest.mark.parametrize("case", _CASES)
def test_a_block_with_a_norm_that_keeps_no_statistics_is_refused_and_the_others_are_fused(
    case: Published, tmp_path: Path
) -> None:
    def forget(model: Module) -> str:
        norm = next(part for part in model.walk() if part.class_path.endswith(".BatchNorm2d"))
        norm.table("_buffers").update(running_mean=None, running_var=None)
        return norm.path

    copy, path = edited(case.path, tmp_path / "copy.pt", forget)

    target, report = _fused(copy, tmp_path)

    assert (path, "batch-norm-without-statistics") in {(refused.path, refused.code) for refused in report.refused}
    assert report.replaced
    assert at(model_of(target), path).class_path.endswith(".BatchNorm2d")


@pytest.mark.parametrize("case", _CASES)
def test_a_block_with_a_hook_is_left_alone(case: Published, tmp_path: Path) -> None:
    def hook(model: Module) -> str:
        block = next(part for part in model.walk() if part.path and not part.class_path.startswith("torch."))
        block.state["_forward_hooks"] = ordered_dict({0: None})
        return block.path

    copy, path = edited(case.path, tmp_path / "copy.pt", hook)

    target, report = _fused(copy, tmp_path)

    assert report.replaced
    assert path not in {part.path for part in report.replaced}
    assert list(at(model_of(target), path).member_names()) == list(at(model_of(copy), path).member_names())


@pytest.mark.parametrize("family", [name for name in _AUTHORS if shipped(name).is_file()])
def test_the_larger_files_come_out_no_larger_than_the_authors_conversion_leaves_them(
    family: str, tmp_path: Path
) -> None:
    _, report = _fused(shipped(family), tmp_path)

    parameters, convolutions = _AUTHORS[family]
    assert report.summary.parameters_after <= parameters
    assert report.summary.convolutions_after <= convolutions
    assert report.summary.batch_norms_after == 0
    assert report.equivalence.identity.relative < 1e-11
