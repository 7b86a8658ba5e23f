"""Small torchvision models: described as torchvision computes them, fused as far as their norms can be."""

from pathlib import Path

import pytest
import torch
from torch import nn

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.fuse.replace import plan_fusion
from app.engine.fuse.survey import survey
from tests.engine.forward.inert import layer, made_up, outputs
from tests.engine.forward.package_files import ROUNDED, distance, file, files, fused, oracle, root

FILES = files("torchvision")
BEFORE_AN_ACTIVATION = [
    *(f"features.denseblock1.denselayer{at}.norm1" for at in (1, 2)),
    "features.transition1.norm",
    "features.denseblock2.denselayer1.norm1",
    "features.norm5",
]
# What stays: a norm in front of an activation, one that inference never reads.
LEFT = {"densenet": BEFORE_AN_ACTIVATION, "googlenet": ["aux1.bn"]}
WITHOUT_NORMS = ("convnext", "squeezenet")


def _name(path: Path) -> str:
    return path.stem


def test_the_files_are_there():
    assert len(FILES) == 20


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_the_description_gives_what_torchvision_gave(path):
    inputs, wanted = oracle(path)

    assert distance(outputs(root(path), inputs), wanted) < 1e-11


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_norm_behind_a_convolution_goes_and_the_others_say_why_they_stay(path, tmp_path):
    module, report = fused(path, tmp_path)
    left = LEFT.get(path.stem, [])

    assert {cut.path for cut in report.refused} >= set(left)
    assert report.summary.batch_norms_after == len(left)
    assert (report.summary.batch_norms_before == 0) == (path.stem in WITHOUT_NORMS)
    assert report.equivalence.passed
    assert report.equivalence.scope == "model"
    assert report.equivalence.identity.relative < 1e-11
    inputs, wanted = oracle(path)
    assert distance(outputs(module, inputs), wanted) < ROUNDED


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_whole_models_are_read_as_classes_of_torchvision(path):
    assert family_of(root(path)).read_as.startswith("torchvision ")


def test_a_frozen_norm_folds_as_any_other(tmp_path):
    module, report = fused(file("torchvision", "resnet_frozen"), tmp_path)

    assert report.summary.batch_norms_before > 0
    assert not [part for part in module.walk() if part.class_path.endswith("FrozenBatchNorm2d")]


def test_the_layers_of_a_sequential_subclass_stay_where_they_were(tmp_path):
    module, _ = fused(file("torchvision", "conv_norm_act"), tmp_path)

    assert module.class_path == "torchvision.ops.misc.Conv2dNormActivation"
    assert list(module.table("_modules")) == ["0", "1", "2"]
    assert module.child("1").class_path == "torch.nn.modules.linear.Identity"


def test_a_norm_without_statistics_stays():
    module = root(file("torchvision", "conv_norm_act"))
    module.child("1").table("_buffers").update(running_mean=None, running_var=None)

    fusion = plan_fusion(trace(module, [(2, 4, 9, 7)], family_of), survey(module), None)

    assert [cut.code for cut in fusion.cuts] == ["batch-norm-without-statistics"]
    assert not fusion.replacements


@pytest.mark.parametrize(
    ("class_path", "children"),
    [
        ("torchvision.models.resnet.ResNet", {"conv1": nn.Conv2d(3, 4, 3), "fc": nn.Linear(4, 2)}),
        ("torchvision.models.vgg.VGG", {"features": nn.Identity(), "classifier": nn.Identity(), "neck": nn.ReLU()}),
        ("torchvision.models.mnasnet._InvertedResidual", {"layers": nn.Identity(), "gate": nn.ReLU()}),
        ("torchvision.models.detection.rpn.RPNHead", {"conv": nn.Conv2d(3, 4, 3)}),
    ],
)
def test_a_class_with_other_parts_is_not_taken_for_the_published_one(class_path, children, tmp_path):
    parts = {name: layer(tmp_path, child) for name, child in children.items()}

    assert family_of(made_up(class_path, parts)) is None


def test_dense_blocks_read_every_map_before_them():
    path = file("torchvision", "densenet")
    block = root(path).child("features").child("denseblock1")
    widths = [layer.child("norm1").tensor("weight").shape[0] for _, layer in block.children()]

    assert widths == [8, 12]
    (found,) = outputs(block, [torch.randn(1, 8, 5, 4, dtype=torch.float64)])
    assert found.shape == (1, 16, 5, 4)
