"""LoRA layers that `peft` and `loralib` wrote, against what those gave: merged, they are the plain layers."""

from pathlib import Path

import pytest
import torch

from app.engine.ir.module import Module, mapping, module_node
from tests.engine.forward.inert import outputs
from tests.engine.forward.published import Published, edited, file_of, model_of
from tests.engine.nets import Fused, fuse_file

_PEFT = [pytest.param(file_of("lora", name), id=name) for name in ("linear", "conv", "dora")]
_LORALIB = [pytest.param(file_of("lora", name), id=name) for name in ("loralib_conv", "loralib_merged")]
_CASES = [*_PEFT, pytest.param(file_of("lora", "loralib"), id="loralib"), *_LORALIB]
_EPS = torch.finfo(torch.float32).eps


def _fuse(path: Path, tmp_path: Path, **options: object) -> Fused:
    return fuse_file(path, tmp_path / "fused.pt", **options)


@pytest.mark.parametrize("case", _CASES)
def test_the_numeric_reading_gives_what_the_library_gave(case: Published) -> None:
    x, expected = case.oracle

    (found,) = outputs(case.model(), [x], torch.float64)

    torch.testing.assert_close(found, expected.double(), rtol=0, atol=64 * _EPS * float(expected.abs().max()))


@pytest.mark.parametrize("case", _PEFT)
def test_merged_layers_are_those_that_merging_and_unloading_leaves(case: Published, tmp_path: Path) -> None:
    done = _fuse(case.path, tmp_path)
    x, expected = case.oracle

    assert {name: list(tensor.shape) for name, tensor in done.loaded.state_dict().items()} == case.facts["own_state"]
    assert all(type(layer).__module__.startswith("torch.nn.") for layer in done.loaded.modules())
    assert done.report.equivalence.identity.relative < 1e-11
    assert not any(part.assumed for part in done.report.replaced)
    with torch.no_grad():
        torch.testing.assert_close(done.loaded(x), expected, rtol=0, atol=64 * _EPS * float(expected.abs().max()))


def test_layers_of_loralib_become_plain_and_one_of_rank_zero_stays(tmp_path: Path) -> None:
    case = file_of("lora", "loralib")
    x, expected = case.oracle

    done = fuse_file(case.path, tmp_path / "fused.pt", load=False)
    model = model_of(done.path)

    plain = "torch.nn.modules.linear.Linear"
    assert [layer.class_path for _, layer in model.children()][::2] == [plain, plain]
    assert model.child("3").class_path == "loralib.layers.Linear"
    assert model.child("2").tensor("weight").shape == (5, 8)
    torch.testing.assert_close(
        outputs(model, [x])[0], expected.double(), rtol=0, atol=64 * _EPS * float(expected.abs().max())
    )


@pytest.mark.parametrize("case", _CASES)
def test_inside_a_class_that_nobody_knows_they_merge_all_the_same(case: Published, tmp_path: Path) -> None:
    def wrap(model: Module) -> int:
        inner = dict(model.table("_modules"))
        model.node.origin = type(model.node.origin)("my_net", "Net")
        return len(inner)

    copy, _ = edited(case.path, tmp_path / "copy.pt", wrap)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    assert done.report.equivalence.scope == "blocks"
    assert len(done.report.replaced) == 2
    assert not any(part.assumed for part in done.report.replaced)


@pytest.mark.parametrize("attribute", ["_disable_adapters", "merged_adapters"])
def test_a_layer_that_is_merged_or_disabled_is_its_base_layer_and_left_alone(attribute: str, tmp_path: Path) -> None:
    def switch(model: Module) -> None:
        layer = model.child("0")
        layer.state[attribute] = True if attribute == "_disable_adapters" else ["default"]

    copy, _ = edited(file_of("lora", "linear").path, tmp_path / "copy.pt", switch)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    assert [part.path for part in done.report.replaced] == ["2"]
    assert done.codes == {}


def test_a_variant_that_is_not_described_is_left_alone(tmp_path: Path) -> None:
    def vary(model: Module) -> None:
        variants = mapping(model.child("0").state["lora_variant"])
        variants["default"] = module_node(("peft.tuners.lora.variants", "Other"), training=False)

    copy, _ = edited(file_of("lora", "linear").path, tmp_path / "copy.pt", vary)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    assert [part.path for part in done.report.replaced] == ["2"]
    (refused,) = done.report.refused
    assert (refused.path, refused.code) == ("0", "adapter-not-merged")
    assert "the variant of LoRA that it uses is not described" in refused.reason


@pytest.mark.parametrize("case", _LORALIB)
def test_projections_and_convolutions_of_loralib_become_plain_layers(case: Published, tmp_path: Path) -> None:
    x, expected = case.oracle

    done = fuse_file(case.path, tmp_path / "fused.pt", load=False)
    model = model_of(done.path)

    plain = {"loralib_conv": "torch.nn.modules.conv.Conv2d", "loralib_merged": "torch.nn.modules.linear.Linear"}
    assert [model.child(name).class_path for name in ("0", "2")] == [plain[case.path.stem]] * 2
    assert [model.child(name).tensor("bias") is not None for name in ("0", "2")] == [True, False]
    assert done.report.equivalence.identity.relative < 1e-11
    torch.testing.assert_close(
        outputs(model, [x])[0], expected.double(), rtol=0, atol=64 * _EPS * float(expected.abs().max())
    )


@pytest.mark.parametrize(
    ("name", "attribute", "odd"),
    [
        ("loralib_merged", "enable_lora", [True, 1, True]),
        ("loralib_merged", "enable_lora", [True] * 4),
        ("loralib_merged", "r", None),
        ("loralib_conv", "merged", "no"),
        ("loralib_conv", "scaling", None),
    ],
)
def test_a_layer_of_loralib_that_does_not_say_how_it_adapts_is_left_and_reported(
    name: str, attribute: str, odd: object, tmp_path: Path
) -> None:
    def spoil(model: Module) -> None:
        model.child("0").state[attribute] = odd

    copy, _ = edited(file_of("lora", name).path, tmp_path / "copy.pt", spoil)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    assert [part.path for part in done.report.replaced] == ["2"]
    assert done.codes == {"0": "adapter-not-merged"}


def test_a_convolution_of_loralib_whose_weight_was_set_anew_is_left(tmp_path: Path) -> None:
    """Its class reads the convolution's own weight, and a state dict would hold both."""

    def part(model: Module) -> None:
        layer, other = model.child("0"), model.child("4").child("conv")
        layer.table("_parameters")["weight"] = other.table("_parameters")["weight"]

    copy, _ = edited(file_of("lora", "loralib_conv").path, tmp_path / "copy.pt", part)

    done = fuse_file(copy, tmp_path / "fused.pt", load=False)

    assert done.codes == {"0": "adapter-not-merged"}
