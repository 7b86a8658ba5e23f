"""What may be asked for: names of models and plain arguments, nothing that is opened, fetched or imported."""

import pytest

from app.engine.zoo.request import is_name, request_of
from app.errors import InvalidOption


@pytest.mark.parametrize(
    ("text", "package", "name"),
    [
        ("resnet50", None, "resnet50"),
        ("torchvision/resnet50", "torchvision", "resnet50"),
        ("timm/resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
    ],
)
def test_a_model_is_named_with_or_without_its_package(text: str, package: str | None, name: str) -> None:
    request = request_of(text, {})

    assert (request.package, request.name) == (package, name)
    assert request.text == text


@pytest.mark.parametrize(
    "text",
    [
        *("../../etc/passwd", "/tmp/model.py", "hf-hub:someone/model", "hf_hub:x", "local-dir:/tmp", "timm/../x"),
        *("https://example.org/model", "mypackage/model", "timm/", "", "resnet50;rm", "os.system.x", "timm/hf-hub:a/b"),
    ],
)
def test_paths_addresses_and_names_on_a_hub_are_no_models(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(InvalidOption, match="no name of a model"):
        request_of(text, {})


def test_arguments_are_numbers_words_truth_values_and_lists_of_numbers() -> None:
    request = request_of("x", {"num_classes": 10, "act_layer": "silu", "aux": False, "depths": [2, 2], "rate": 0.5})

    assert request.arguments == {"num_classes": 10, "act_layer": "silu", "aux": False, "depths": (2, 2), "rate": 0.5}
    assert request.text == "x:num_classes=10,act_layer=silu,aux=false,depths=[2, 2],rate=0.5"


@pytest.mark.parametrize(
    "name",
    [
        *("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"),
        *("cache_dir", "scriptable", "features_only", "device", "dtype", "model_name", "state_dict"),
    ],
)
def test_what_would_fetch_open_or_place_something_may_not_be_given(name: str) -> None:
    with pytest.raises(InvalidOption, match="may not be given"):
        request_of("timm/resnet50", {name: True})


@pytest.mark.parametrize(
    "value",
    ["a/b", "a.b", "hf-hub:x", "x" * 65, {"a": 1}, [1, "a"], [[1]], [1] * 65, 1 << 17, float("nan"), float("inf")],
)
def test_values_that_are_more_than_plain_are_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"is no number|is not a number"):
        request_of("timm/resnet50", {"anything": value})
