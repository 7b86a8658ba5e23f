"""State dicts of QARepVGG: identity branches have no names, and are told by a block's place in its stage."""

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine import fuse_checkpoint
from app.errors import ArchitectureMismatch, NeedsArchitecture
from app.options import FuseOptions
from tests.engine.forward.published import file_of
from tests.engine.weights.test_families import fused, saved, state_dict_of

_BLOCKS = file_of("qarepvgg", "blocks")


def _in_a_stage(weights: dict[str, Tensor]) -> "OrderedDict[str, Tensor]":
    """The blocks as a network names them: the first by itself, the others behind the first of a stage."""
    named = ((re.sub(r"^0\.", "stage0.", name), tensor) for name, tensor in weights.items())
    return OrderedDict((re.sub(r"^(\d)\.", r"stage1.\1.", name), tensor) for name, tensor in named)


def test_the_tensors_are_those_of_the_whole_module_bit_for_bit(tmp_path: Path) -> None:
    fuse_checkpoint(_BLOCKS.path, tmp_path / "module.pt", FuseOptions(), filename="module.pt")
    expected = _in_a_stage(state_dict_of(tmp_path / "module.pt"))

    found, report = fused(saved(_in_a_stage(state_dict_of(_BLOCKS.path)), tmp_path), tmp_path, architecture="qarepvgg")

    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {name: list(tensor.shape) for name, tensor in found.items()} == {
        name: list(tensor.shape) for name, tensor in expected.items()
    }
    assert report.summary.parameters_after == _BLOCKS.facts["own_deploy"]["parameters"]
    assert report.summary.batch_norms_after == 0
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11


def test_the_first_block_of_a_stage_has_no_identity_branch(tmp_path: Path) -> None:
    """What a kernel is without the identity: one less in the middle, times the norm behind the sum."""
    block = {name[2:]: tensor for name, tensor in state_dict_of(_BLOCKS.path).items() if name.startswith("5.")}
    both = {f"stage2.{place}.{name}": tensor.clone() for place in (0, 1) for name, tensor in block.items()}

    found, _ = fused(saved(both, tmp_path), tmp_path, architecture="qarepvgg")

    difference = (found["stage2.1.rbr_reparam.weight"] - found["stage2.0.rbr_reparam.weight"]).double()
    factor = block["bn.weight"].double() / (block["bn.running_var"].double() + 1e-5).sqrt()
    wanted = torch.zeros_like(difference)
    wanted[range(len(factor)), range(len(factor)), 1, 1] = factor
    torch.testing.assert_close(difference, wanted, rtol=1e-5, atol=1e-6)


def test_a_square_block_in_an_unknown_place_is_not_guessed(tmp_path: Path) -> None:
    weights = saved(state_dict_of(_BLOCKS.path), tmp_path)

    with pytest.raises(ArchitectureMismatch, match="whether it has an identity branch"):
        fused(weights, tmp_path, architecture="qarepvgg")


def test_it_is_the_first_match_of_its_names(tmp_path: Path) -> None:
    with pytest.raises(NeedsArchitecture) as caught:
        fused(saved(_in_a_stage(state_dict_of(_BLOCKS.path)), tmp_path), tmp_path)

    assert caught.value.facts["matches"][0]["architecture"] == "qarepvgg"


def test_a_fused_state_dict_is_left_alone(tmp_path: Path) -> None:
    once, _ = fused(saved(_in_a_stage(state_dict_of(_BLOCKS.path)), tmp_path), tmp_path, architecture="qarepvgg")

    again, report = fused(saved(once, tmp_path), tmp_path, architecture="qarepvgg")

    assert not report.replaced
    assert all(torch.equal(again[name], once[name]) for name in once)
