"""State dicts of YOLOv9 and YOLOv10: what inference never reads is left out, and the rest has the deployed names."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from app.errors import NeedsArchitecture
from tests.engine.nets import trained
from tests.engine.weights.test_families import fused, saved

WIDTHS = (4, 6, 8)  # of the three levels of a head


def _conv(channels: int, out: int) -> nn.Module:
    """A convolution block by the names that all of these code bases give it."""
    block = nn.Module()
    block.conv, block.bn = nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
    return block


def _put_out(width: int, last: str = "cv4") -> nn.Module:
    """A block whose last convolution, `last`, says how wide it is."""
    block = nn.Module()
    block.cv1 = _conv(4, 4)
    block.add_module(last, _conv(4, width))
    return block


def _head(branches: int) -> nn.Module:
    head = nn.Module()
    for branch in range(branches):
        for name in (f"cv{2 * branch + 2}", f"cv{2 * branch + 3}"):
            levels = [nn.Sequential(_conv(width, 4), nn.Conv2d(4, 5, 1)) for width in WIDTHS]
            head.add_module(name, nn.ModuleList(levels))
        expectation = nn.Module()
        expectation.conv = nn.Conv2d(16, 1, 1, bias=False)
        head.add_module(f"dfl{branch + 1}" if branch else "dfl", expectation)
    return head


# By the layers that have weights: those of the auxiliary branch, of the main one in order, the head, and the sources
# of both branches' levels, the finest first.
NETS = {
    "small": (range(22, 29), range(22), 29, (28, 25, 22), (15, 18, 21)),
    "large": (range(23, 38), range(1, 23), 38, (31, 34, 37), (16, 19, 22)),
    "extended": (range(29, 36), (*range(29), *range(36, 49)), 49, (35, 32, 29), (42, 45, 48)),
}
BARE = {
    "small": {10, 11, 13, 14, 17, 20, 23, 24, 26, 27},
    "large": {0, 11, 12, 14, 15, 18, 21, 30, 33, 36},
    "extended": {0, 16, 18, 21, 24, 27, 30, 31, 33, 34, 37, 38, 40, 41, 44, 47},
}


def _net(kind: str, branches: int = 2) -> dict[str, Tensor]:
    _, _, head, auxiliary, main = NETS[kind]
    widths = dict(zip((*auxiliary, *main), (*WIDTHS, *WIDTHS), strict=True))
    layers = {
        str(number): _put_out(widths[number], "cv5" if number == 29 else "cv4") if number in widths else _conv(4, 4)
        for number in range(head)
        if number not in BARE[kind]
    }
    net = nn.Module()
    net.model = nn.ModuleDict({**layers, str(head): _head(branches)})
    return dict(trained(net).state_dict())


def _of_layers(names: list[str]) -> list[int]:
    return list(dict.fromkeys(int(name.split(".")[1]) for name in names))


@pytest.mark.parametrize(("kind", "branches"), [("small", 2), ("large", 2), ("extended", 2), ("large", 3)])
def test_the_main_branch_alone_is_left_and_numbered_as_the_authors_do(kind: str, branches: int, tmp_path: Path) -> None:
    before = _net(kind, branches)
    gone, kept, head, _, main = NETS[kind]

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov9")

    places = {number: place for place, number in enumerate(kept)}
    weighted = [places[number] for number in kept if number not in BARE[kind]]
    assert _of_layers(list(after)) == [*weighted, len(kept)]
    assert {name.split(".")[2] for name in after if name.startswith(f"model.{len(kept)}.")} == {"cv2", "cv3", "dfl"}
    last = f"model.{head}.cv{2 * branches}.1.1.bias"
    assert torch.equal(after[f"model.{len(kept)}.cv2.1.1.bias"], before[last])
    assert after[f"model.{places[main[1]]}.cv4.conv.weight"].shape[0] == WIDTHS[1]
    paths = [part.path for part in report.removed]
    assert paths[: -3 * (branches - 1)] == [f"model.{number}" for number in gone if number not in BARE[kind]]
    assert report.summary.layers_removed == len(paths)
    assert report.summary.batch_norms_after == 0
    assert report.summary.parameters_before > report.summary.parameters_after


def test_what_a_folded_layer_computes_is_what_it_did_under_its_old_number(tmp_path: Path) -> None:
    before = _net("large")

    after, _ = fused(saved(before, tmp_path), tmp_path, architecture="yolov9")

    x = torch.randn(1, 4, 3, 3)
    norm = [before[f"model.7.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    expected = nn.functional.batch_norm(nn.functional.conv2d(x, before["model.7.conv.weight"]), *norm, eps=1e-3)
    found = nn.functional.conv2d(x, after["model.6.conv.weight"], after["model.6.conv.bias"])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("odd", ["model.30.weight", "model.38.cv8.0.weight"])
def test_a_net_that_is_laid_out_otherwise_keeps_all_of_its_layers(odd: str, tmp_path: Path) -> None:
    before = {**_net("large"), odd: torch.randn(3)}

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov9")

    assert _of_layers(list(after)) == _of_layers(list(before))
    assert report.removed == ()
    assert report.summary.batch_norms_after == 0


def test_levels_of_another_width_than_their_layers_are_kept_and_that_is_said(tmp_path: Path) -> None:
    before = _net("large")
    before["model.22.cv4.conv.weight"] = torch.randn(5, 4, 1, 1)
    before |= {f"model.22.cv4.bn.{name}": torch.rand(5) for name in ("weight", "bias", "running_mean", "running_var")}

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov9")

    assert "model.38.cv4.0.1.weight" in after
    assert any("the auxiliary branch stays" in note for note in report.notes)


def _of_both_branches(**replaced: nn.Module | None) -> dict[str, Tensor]:
    """A head as YOLOv10's behind one block."""
    head = _head(1)
    for name in ("cv2", "cv3"):
        head.add_module(f"one2one_{name}", copy.deepcopy(head.get_submodule(name)))
    for name, part in replaced.items():
        head.add_module(name, part)
    net = nn.Module()
    net.model = nn.ModuleList([_conv(4, 4), head])
    return dict(trained(net).state_dict())


def test_the_one_to_many_branch_of_yolov10_is_left_out(tmp_path: Path) -> None:
    before = _of_both_branches()

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov10")

    assert {name.split(".")[2] for name in after if name.startswith("model.1.")} == {
        "one2one_cv2",
        "one2one_cv3",
        "dfl",
    }
    assert [part.path for part in report.removed] == ["model.1.cv2", "model.1.cv3"]
    assert any("one-to-many" in note for note in report.notes)
    assert report.summary.batch_norms_before == 13
    assert report.summary.batch_norms_after == 0


@pytest.mark.parametrize("missing", ["dfl", "one2one_cv3"])
def test_a_head_of_another_kind_is_kept_whole(missing: str, tmp_path: Path) -> None:
    """Of YOLO26's head, which predicts no distributions, a loader may read either branch."""
    before = _of_both_branches(**{missing: None})

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov10")

    assert report.removed == ()
    assert {name.split(".")[2] for name in after if name.startswith("model.1.")} >= {"cv2", "cv3", "one2one_cv2"}


@pytest.mark.parametrize(
    ("net", "first"),
    [(_of_both_branches(), "yolov10"), (_net("small"), "yolov9")],
    ids=["yolov10", "yolov9"],
)
def test_a_file_with_branches_for_training_is_told_the_architecture_that_drops_them(
    net: dict[str, Tensor], first: str, tmp_path: Path
) -> None:
    with pytest.raises(NeedsArchitecture) as caught:
        fused(saved(net, tmp_path), tmp_path)

    assert caught.value.facts["matches"][0]["architecture"] == first


@pytest.mark.parametrize("name", ["9" * 5000, "007", "٣"])
def test_a_name_that_is_no_layers_number_makes_no_layer_list(name: str, tmp_path: Path) -> None:
    before = {f"model.{name}.{key}": value for key, value in _conv(4, 4).state_dict().items()}

    after, report = fused(saved(before, tmp_path), tmp_path, architecture="yolov9")

    assert list(after) == [f"model.{name}.conv.weight", f"model.{name}.conv.bias"]
    assert report.removed == ()
