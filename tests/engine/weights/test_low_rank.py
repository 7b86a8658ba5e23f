"""Low-rank adapters in state dicts, under the names of peft and loralib: merged by the caller's plan."""

import json

import pytest
import torch

from app.engine import fuse_checkpoint, inspect_checkpoint
from app.errors import InvalidPlan, NeedsArchitecture
from app.options import FuseOptions


def adapted(out=5, into=7, kernel=(), rank=2, name="q"):
    """A layer as peft's state dict has it."""
    return {
        f"{name}.base_layer.weight": torch.randn(out, into, *kernel),
        f"{name}.base_layer.bias": torch.randn(out),
        f"{name}.lora_A.default.weight": torch.randn(rank, into, *kernel),
        f"{name}.lora_B.default.weight": torch.randn(out, rank, *(1 for _ in kernel)),
    }


def fused(state, lora, tmp_path):
    torch.save(state, tmp_path / "net.pth")
    options = FuseOptions(plan=json.dumps({"lora": lora}))
    report = fuse_checkpoint(tmp_path / "net.pth", tmp_path / "out.pth", options, filename="net.pth")
    return report, torch.load(tmp_path / "out.pth")


def product(second, first):
    return torch.einsum("or,ri...->oi...", second.double().flatten(1), first.double())


def same(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=4 * 2**-23, atol=1e-8)


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2)])
def test_an_adapter_of_peft_is_merged_into_its_base_layer(kernel, tmp_path):
    state = {**adapted(kernel=kernel), "last.weight": torch.randn(3, 5)}

    report, after = fused(state, {"scaling": 2.5}, tmp_path)

    delta = product(state["q.lora_B.default.weight"], state["q.lora_A.default.weight"])
    same(after["q.weight"], state["q.base_layer.weight"].double() + 2.5 * delta)
    assert after["q.bias"].equal(state["q.base_layer.bias"])
    assert set(after) == {"q.weight", "q.bias", "last.weight"}
    assert report.equivalence.identity.relative < 1e-11
    assert [note.partition(",")[0] for note in report.notes] == ["the scaling"]  # no norm is spoken of


def test_dora_scales_the_rows_of_what_it_merges(tmp_path):
    state = {**adapted(), "q.lora_magnitude_vector.default.weight": torch.rand(5) + 0.5}

    _, after = fused(state, {"scaling": 2}, tmp_path)

    delta = product(state["q.lora_B.default.weight"], state["q.lora_A.default.weight"])
    merged = state["q.base_layer.weight"].double() + 2 * delta
    magnitude = state["q.lora_magnitude_vector.default.weight"].double()
    same(after["q.weight"], (magnitude / merged.norm(dim=1))[:, None] * merged)


@pytest.mark.parametrize("turned", [False, True])
def test_an_adapter_of_loralib_is_merged_either_way_round(turned, tmp_path):
    down, up, weight = torch.randn(2, 7), torch.randn(5, 2), torch.randn(5, 7)
    state = {"q.weight": weight.T.contiguous() if turned else weight, "q.lora_A": down, "q.lora_B": up}

    _, after = fused(state, {"scaling": {"q": 0.5}}, tmp_path)

    merged = weight.double() + 0.5 * up.double() @ down.double()
    assert set(after) == {"q.weight"}
    found = after["q.weight"]
    same(found.T if found.shape == (7, 5) else found, merged)


def test_of_several_adapters_the_named_one_is_merged(tmp_path):
    state = {**adapted(), "q.lora_A.other.weight": torch.randn(3, 7), "q.lora_B.other.weight": torch.randn(5, 3)}

    with pytest.raises(InvalidPlan, match="default, other"):
        fused(state, {"scaling": 1}, tmp_path)
    _, after = fused(state, {"scaling": 1, "adapter": "other"}, tmp_path)

    delta = product(state["q.lora_B.other.weight"], state["q.lora_A.other.weight"])
    same(after["q.weight"], state["q.base_layer.weight"].double() + delta)


@pytest.mark.parametrize(
    ("lora", "change", "said"),
    [
        ({}, {}, "scaling"),
        ({"scaling": {"p": 1}}, {}, "p is no module"),
        ({"scaling": 1, "layers": ["p"]}, {}, "p is no module"),
        ({"scaling": 1, "adapter": "none"}, {}, "no adapter 'none'"),
        ({"scaling": 1}, {"q.lora_A.default.weight": torch.randn(2, 8)}, "do not fit"),
        ({"scaling": 1}, {"q.lora_B.default.weight": torch.randn(5, 2, 1)}, "do not fit"),
        ({"scaling": 1}, {"q.more": torch.randn(5)}, "q.more is no part"),
        ({"scaling": 1}, {"q.lora_magnitude_vector.default": torch.rand(5)}, "is no part"),
        ({"scaling": 1}, adapted(7, 7), "square"),
        ({"scaling": 1, "fan_in_fan_out": True}, adapted(7, 7), "not merged"),
        ({"scaling": 1}, {"q.base_layer.weight": torch.randn(7, 5)}, "not merged"),
        ({"scaling": 1}, {"q.lora_B.default.weight": torch.zeros(5, 2, dtype=torch.int32)}, "no real numbers"),
    ],
)
def test_what_can_not_be_is_refused_with_the_path(lora, change, said, tmp_path):
    with pytest.raises(InvalidPlan) as caught:
        fused({**adapted(), **change}, lora, tmp_path)

    assert said in caught.value.detail


def test_what_a_file_holds_in_parts_is_told_with_the_words_to_ask_for_it(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({**adapted(), "c.weight_g": torch.ones(4, 1), "c.weight_v": torch.ones(4, 2)}, path)

    notes = " ".join(inspect_checkpoint(path, filename="net.pth").notes)
    with pytest.raises(NeedsArchitecture) as caught:
        fuse_checkpoint(path, tmp_path / "out.pth", FuseOptions(), filename="net.pth")

    for said in ('plan={"weight_norm": "all"}', 'plan={"lora": {"scaling": alpha / r}}'):
        assert said in notes
        assert said in caught.value.detail
