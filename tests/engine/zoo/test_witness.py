"""What a package's own code says of the written tensors, and what is said where that code fails."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from app.engine.zoo.witness import Witness
from tests.engine.zoo.nets import Refusing, trained


def net() -> nn.Module:
    return trained(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))


def test_a_model_that_takes_the_tensors_says_how_far_they_are_off() -> None:
    original = net()
    state = original.state_dict()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    wrong = {**state, "1.bias": state["1.bias"] + 1}

    seen = Witness("torch", net, lambda: state)(
        wrong, [x], [copy.deepcopy(original).double()(x.double())], torch.float32, "cpu"
    )

    assert not isinstance(seen, str)
    assert seen.reading < 1e-12
    assert seen.stored > 0.1
    assert seen.native_noise < 1e-5


def test_a_file_of_several_dtypes_is_taken_as_it_is_whatever_the_native_dtype() -> None:
    original = net()
    state = {name: value.half() if value.ndim == 4 else value for name, value in original.state_dict().items()}
    original[0].weight.copy_(state["0.weight"])
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))

    seen = Witness("torch", net, lambda: state)(state, [x], [original.double()(x.double())], torch.float16, "cpu")

    assert not isinstance(seen, str)
    assert seen.reading < 1e-12


def test_code_that_fails_on_the_original_is_no_witness() -> None:
    assert "AssertionError: only in the lab" in str(said(Refusing, dict(Refusing().state_dict())))


def test_tensors_that_the_code_does_not_take_are_told_with_its_words() -> None:
    found = said(lambda: nn.Linear(3, 3), {"weight": torch.zeros(3, 3), "elsewhere": torch.zeros(1)})

    assert "does not take the written tensors" in str(found)
    assert "elsewhere" in str(found)


def said(build: type[nn.Module] | object, after: Mapping[str, Tensor]) -> object:
    assert callable(build)
    before = dict(build().state_dict())
    x = torch.ones(1, 3)
    return Witness("torch", build, lambda: before)(after, [x], [x.double()], torch.float32, "cpu")
