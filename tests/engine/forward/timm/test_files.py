"""Small timm models: described as timm computes them, fused to no more than timm's own re-parameterisation leaves."""

from pathlib import Path

import pytest

from app.engine.forward.families import family_of
from app.engine.forward.structure import below
from tests.engine.forward.inert import outputs
from tests.engine.forward.package_files import ROUNDED, distance, facts, file, files, fused, oracle, root

FACTS = facts("timm")
FILES = files("timm")
REPARAMETERISED = [file("timm", name) for name, fact in FACTS.items() if fact["tensors"] is not None]
# Factors behind a pool, and affine layers behind an activation: often no convolution stands beside them.
AFFINE = ("LayerScale2d", "LearnableAffineBlock")


def _name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_the_description_gives_what_timm_gave(path):
    inputs, wanted = oracle(path)

    assert distance(outputs(root(path), inputs), wanted) < 1e-11


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_norm_is_left_and_nothing_is_larger_than_timm_leaves_it(path, tmp_path):
    module, report = fused(path, tmp_path)
    summary, fact = report.summary, FACTS[path.stem]

    assert (summary.batch_norms_before > 0) == ("convnext" not in path.stem)
    refused = [cut for cut in report.refused if cut.code != "norm-of-the-input"]
    left = [cut.path for cut in refused if not below(root(path), cut.path).class_path.endswith(AFFINE)]
    assert left == []
    assert summary.batch_norms_after == 0
    assert summary.parameters_after <= fact["parameters"]
    assert summary.convolutions_after <= fact["convolutions"]
    assert report.equivalence.passed
    assert report.equivalence.scope == "model"
    assert report.equivalence.identity.relative < 1e-11
    inputs, wanted = oracle(path)
    assert distance(outputs(module, inputs), wanted) < ROUNDED


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_the_data_flow_is_proved_by_the_classes_and_not_assumed(path, tmp_path):
    _, report = fused(path, tmp_path)

    assert report.replaced
    assert not any(part.assumed for part in report.replaced)


@pytest.mark.parametrize("path", REPARAMETERISED, ids=_name)
def test_where_timm_leaves_no_norm_the_parameters_have_the_names_that_timm_gives_them(path, tmp_path):
    module, _ = fused(path, tmp_path)

    ours = {part.at(name) for part in module.walk() for name, _ in part.parameters()}
    assert ours == set(FACTS[path.stem]["tensors"])


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_second_job_finds_nothing_to_do(path, tmp_path):
    _, first = fused(path, tmp_path)
    again = tmp_path / "again"
    again.mkdir()

    _, second = fused(tmp_path / path.name, again)

    assert second.summary.layers_replaced == 0
    assert second.output.sha256 == first.output.sha256


def test_every_file_is_read_as_a_class_of_timm():
    assert all(family_of(root(path)).read_as.startswith("timm ") for path in FILES)
