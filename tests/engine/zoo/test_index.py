"""Best matches by names and shapes alone, with no package installed."""

from app.engine.zoo.index import from_bytes, read_index, similar, to_bytes
from app.engine.zoo.sketch import Sketch, hashes, sketch

Shapes = dict[str, tuple[int, ...]]


def resnet18(classes: int = 1000) -> Shapes:
    """The tensors of the eighteen-layer network of He et al., 2016, as its published code names them."""
    found: Shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    inner = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            path = f"layer{stage}.{block}"
            found |= {f"{path}.conv1.weight": (width, inner, 3, 3), **_norm(f"{path}.bn1", width)}
            found |= {f"{path}.conv2.weight": (width, width, 3, 3), **_norm(f"{path}.bn2", width)}
            if inner != width:
                found |= {f"{path}.downsample.0.weight": (width, inner, 1, 1), **_norm(f"{path}.downsample.1", width)}
            inner = width
    return found | {"fc.weight": (classes, 512), "fc.bias": (classes,)}


def _norm(path: str, width: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{path}.{name}": (width,) for name in names} | {f"{path}.num_batches_tracked": ()}


def test_a_model_is_found_by_the_names_and_shapes_of_its_tensors() -> None:
    found = {one.name: one.score for one in similar(resnet18())}

    assert found["torchvision/resnet18"] == found["timm/resnet18"] == 1.0


def test_other_classes_and_missing_counters_leave_it_the_best_match() -> None:
    shapes = {name: shape for name, shape in resnet18(7).items() if not name.endswith("num_batches_tracked")}

    best = similar(shapes)[0]

    assert best.name == "torchvision/resnet18"
    assert best.score > 0.8


def test_what_is_like_no_model_has_no_match() -> None:
    assert similar({f"my.own.{number}.weight": (number + 3, 5) for number in range(40)}) == []
    assert similar({}) == []


def test_the_index_knows_the_models_of_both_packages() -> None:
    names = read_index().names

    assert {"torchvision/resnet50", "torchvision/mnasnet0_5", "torchvision/regnet_y_400mf"} <= set(names)
    assert {"timm/repvgg_a0", "timm/mobileone_s0", "timm/fastvit_t8", "timm/repghostnet_050"} <= set(names)
    assert len(names) > 1400


def test_an_index_is_read_as_it_was_written() -> None:
    sketches = {"a/one": sketch(resnet18()), "b/two": sketch({"w": (1,)}), "c/none": Sketch((), 0)}

    index = from_bytes(to_bytes(sketches))

    assert index.names == ("a/one", "b/two", "c/none")
    assert index.tensors.tolist() == [len(hashes(resnet18())), 1, 0]
    assert [int((index.owners == at).sum()) for at in range(3)] == [20, 1, 0]
