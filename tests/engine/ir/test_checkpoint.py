"""Where the model of a file stands, and what the deployed file does without."""

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.ir.checkpoint import find_model, inside, parts, storages, strip, total_bytes
from app.engine.ir.module import is_module, mapping
from app.engine.ir.node import Storage
from app.errors import NeedsArchitecture, NothingToFuse
from tests.engine.nets import Unknown


@pytest.fixture
def read(tmp_path):
    def through_a_file(content):
        torch.save(content, tmp_path / "content.pt")
        return read_file(tmp_path / "content.pt").root

    return through_a_file


def layer() -> nn.Module:
    return nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (layer(), ""),
        ({"model": layer()}, "model"),
        ({"model": layer(), "ema": layer()}, "ema"),
        ({"model": layer(), "ema": None}, "model"),
        ({"model": layer(), "ema": layer().state_dict()}, "model"),
        ({"other": layer(), "net": layer()}, "net"),
        ({"something": layer()}, "something"),
        ({3: layer(), "state_dict": layer()}, "state_dict"),
    ],
)
def test_the_model_is_found_under_the_best_key(content, key, read):
    found = find_model(read(content))
    assert found.key == key
    assert found.module.class_path == "torch.nn.modules.conv.Conv2d"
    assert found.module.path == ""


def test_wrappers_are_looked_through_in_order(read):
    found = find_model(read(torch.optim.swa_utils.AveragedModel(nn.DataParallel(layer()))))
    assert [path.rpartition(".")[2] for path in found.wrappers] == ["AveragedModel", "DataParallel"]
    assert found.module.class_path == "torch.nn.modules.conv.Conv2d"


def called(inner: nn.Module) -> nn.Module:
    """As torch.compile wraps, and pickled as newer versions do: a call with the model. Without its hundred settings."""
    return Compiled(inner)


class Compiled(torch._dynamo.eval_frame.OptimizedModule):
    def __init__(self, inner):
        super().__init__(inner, lambda function: function)

    def __reduce__(self):
        return torch._dynamo.eval_frame.OptimizedModule, (self._orig_mod, None)


def test_a_compiled_model_is_looked_through_alone_and_within_wrappers(read):
    for content in (called(layer()), nn.DataParallel(called(layer())), called(nn.DataParallel(layer()))):
        for root in (content, {"epoch": 1, "model": content}):
            found = find_model(read(root))
            assert "torch._dynamo.eval_frame.OptimizedModule" in found.wrappers
            assert found.module.class_path == "torch.nn.modules.conv.Conv2d"


@pytest.mark.parametrize("compiled", [None, 3, nn.ReLU])
def test_a_compiled_thing_that_is_no_module_is_no_model(compiled, read):
    wrapper = called(layer())
    wrapper._modules["_orig_mod"] = compiled
    with pytest.raises(NothingToFuse):
        find_model(read({"model": wrapper}))


def test_a_wrapper_of_several_models_is_not_looked_through(read):
    wrapper = nn.DataParallel(layer())
    wrapper.add_module("second", layer())
    assert find_model(read(wrapper)).wrappers == ()


_WEIGHTS = [layer().state_dict(), {"net": layer().state_dict()}, {"a": 1, "params": layer().state_dict()}]


@pytest.mark.parametrize("content", _WEIGHTS)
def test_weights_without_a_model_are_named_as_such(content, read):
    with pytest.raises(NeedsArchitecture, match="2 tensors"):
        find_model(read(content))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(torch.zeros(2), "tensor"), ([layer()], "list"), (3, "int"), ({}, "none"), ({"a": 1}, "'a'"), (slice(1), "slice")],
)
def test_what_else_a_file_holds_is_named(content, kind, read):
    with pytest.raises(NothingToFuse, match=kind):
        find_model(read(content))


def test_stripping_moves_the_average_under_model_and_counts_bytes_once(read):
    model, ema = layer(), layer()
    shared = torch.zeros(1000)
    content = {"ema": ema, "model": model, "optimizer": [shared, shared[10:]], "scaler": "none", "kept": shared}
    root = read(content)
    removed = {part.path: part.bytes for part in strip(root, find_model(root))}
    table = mapping(root)
    assert table is not None
    assert removed == {"optimizer": 0, "model": 4 * (4 * 27 + 4)}  # the optimizer's tensor is still in the file
    assert table["ema"] is None
    assert table["optimizer"] is None
    assert table["scaler"] == "none"
    assert find_model(root).key == "model"


def stripped(root):
    removed = strip(root, find_model(root))
    table = mapping(root)
    assert table is not None
    return {part.path: part for part in removed}, table


def test_what_several_dropped_parts_share_is_counted_once(read):
    twice = layer()
    removed, _ = stripped(read({"ema": layer(), "model": twice, "model_ema": twice}))
    assert sum(part.bytes for part in removed.values()) == 4 * (4 * 27 + 4)


def test_what_shares_memory_with_the_model_is_not_counted_as_dropped(read):
    model = layer()
    content = {"model": model, "optimizer": {"params": list(model.parameters()), "momentum": torch.zeros(9)}}
    removed, _ = stripped(read(content))
    assert removed["optimizer"].bytes == 36


@pytest.mark.parametrize("settings", ["yolov7", {"layers": [3, 4]}, 5])
def test_settings_under_the_name_of_the_model_are_kept_where_its_place_is_free(settings, read):
    removed, table = stripped(read({"net": layer(), "model": settings}))
    assert removed == {}
    assert table["model"] == settings


@pytest.mark.parametrize("settings", ["yolov7", {"layers": [3, 4]}])
def test_settings_whose_place_the_model_takes_are_reported(settings, read):
    removed, table = stripped(read({"ema": layer(), "model": settings}))
    assert is_module(table["model"])
    assert (removed["model"].bytes, removed["model"].reason) == (0, "the model of 'ema' stands in its place")


class Average:
    def __init__(self, model):
        self.ema = model


@pytest.mark.parametrize(
    "average", [Average(layer().state_dict()), {"module": layer().state_dict()}, layer().state_dict()]
)
def test_averages_that_are_no_module_are_not_called_copies(average, read):
    removed, table = stripped(read({"ema": average, "model": layer()}))
    assert table["ema"] is None
    assert removed["ema"].reason.startswith("weights without a module that can be read: the model under 'model'")


@pytest.mark.parametrize("name", ["ema", "module"])
def test_the_average_that_an_object_or_a_dictionary_keeps_goes_before_the_raw_model(name, read):
    class_like, in_dictionary = Average(None), {name: layer()}
    setattr(class_like, name, layer())
    for holder in (class_like, in_dictionary):
        root = read({"model": layer(), "ema": holder})
        found = find_model(root)
        assert found.key == "ema"
        strip(root, found)
        assert mapping(root)["model"] is found.outer
        assert is_module(found.outer)
        assert mapping(root)["ema"] is None


def test_a_model_is_found_within_a_dictionary_of_the_file(read):
    assert find_model(read({"epoch": 3, "state": {"model": layer()}})).key == "state"


@pytest.mark.parametrize("key", ["optimizer_state_dict", "optimizer_states", "scaler_state_dict"])
def test_training_state_is_dropped_under_its_usual_names(key, read):
    removed, table = stripped(read({"model_state": 1, "model": layer(), key: {"exp_avg": torch.zeros(9)}}))
    assert table[key] is None
    assert removed[key].bytes == 36


def test_a_bare_module_is_not_stripped(read):
    root = read(layer())
    assert strip(root, find_model(root)) == []


def test_every_storage_is_listed_once(read):
    tied = Unknown(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    tied.b.weight = tied.a.weight
    root = read(tied)
    assert len(list(storages(root))) == 3
    assert total_bytes(root) == 4 * (9 + 3 + 3)
    assert total_bytes(7) == 0


def test_parts_of_a_tree_that_holds_itself_end(read):
    loop: list[object] = [1]
    loop.append(loop)
    found = list(parts(loop))
    assert found == [loop]
    assert inside({"a": 1}) == ["a", 1]
    assert not any(isinstance(part, Storage) for part in found)
