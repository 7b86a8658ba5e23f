"""Names, shapes and what they tell, with a stand-in for the builder of a package."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from app.engine.zoo import fit as fits
from app.engine.zoo.abstract import abstract
from app.engine.zoo.fit import fitted
from app.engine.zoo.request import Plain, Request
from app.errors import TooLarge


class Net(nn.Module):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, depth: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(*(nn.Conv2d(8, 8, 1) for _ in range(depth)))
        self.fc = nn.Linear(8, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        return self.fc


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


@pytest.fixture(autouse=True)
def _a_package_with_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(arguments: Mapping[str, Plain]) -> nn.Module:
        return Net(**arguments).eval()  # type: ignore[arg-type]

    monkeypatch.setattr(fits, "builders", lambda request: {"timm": build})


def test_classes_and_input_channels_follow_from_the_shapes() -> None:
    found = fitted(Request(None, "net", {}), shapes(Net(num_classes=7, in_chans=4)))

    assert found.difference.count == 0
    assert found.request == Request("timm", "net", {"num_classes": 7, "in_chans": 4})
    assert set(found.inferred) == {"num_classes", "in_chans"}


def test_what_the_caller_says_is_not_overruled() -> None:
    found = fitted(Request(None, "net", {"num_classes": 5}), shapes(Net(num_classes=7)))

    assert found.difference.shapes == {"fc.weight": ((5, 8), (7, 8)), "fc.bias": ((5,), (7,))}


def test_a_backbone_without_its_classifier_is_known_as_one() -> None:
    found = fitted(Request(None, "net", {}), shapes(Net(num_classes=0)))

    assert found.difference.count == 0
    assert found.request.arguments == {"num_classes": 0}


def test_missing_and_unexpected_names_are_listed_counters_of_batches_are_not_missed() -> None:
    given = shapes(Net())
    given = {name: shape for name, shape in given.items() if name != "stem.bias" and "tracked" not in name}

    found = fitted(Request(None, "net", {}), given | {"extra": (1,)}).difference

    assert (found.missing, found.unexpected, found.shapes) == (("stem.bias",), ("extra",), {})


def test_a_model_far_larger_than_the_file_is_not_built() -> None:
    with pytest.raises(TooLarge, match="far more than the file has tensors"):
        fitted(Request(None, "net", {"depth": 1_000_000}), shapes(Net()))


def test_an_abstract_model_takes_no_memory_and_its_numbers_are_real() -> None:
    def build() -> nn.Module:
        net = nn.Linear(1 << 16, 1 << 16)
        net.rates = [float(rate) for rate in torch.linspace(0, 1, 3)]  # type: ignore[assignment]
        return net

    net = abstract(build, 4)

    assert net.weight.device.type == "meta"
    assert net.rates == [0.0, 0.5, 1.0]
