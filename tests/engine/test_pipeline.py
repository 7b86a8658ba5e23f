"""One checkpoint in, one out: where the model stands in the file, what is proved, what options and report say."""

import copy
import json
import zipfile
from collections import Counter

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from app.engine import inspect_checkpoint
from app.engine.pipeline import fuse_checkpoint
from app.errors import NeedsArchitecture, NotEquivalent, NothingToFuse, TooLarge, UnsupportedContent
from app.options import FuseOptions
from app.report import Report
from tests.engine.nets import (
    BATCH_NORMS,
    CONVS,
    Unknown,
    classes,
    counted,
    error,
    fuse,
    fuse_file,
    norm,
    pair,
    tolerance,
    trained,
)

X = torch.randn(2, 4, 13, 17)


def small() -> nn.Sequential:
    return nn.Sequential(pair(nn.Conv2d(4, 4, 3, bias=False)), pair(nn.Conv2d(4, 6, 3))).eval()


# --- the file ---------------------------------------------------------------------------------------------------------


def test_fusing_twice_replaces_nothing_and_the_bytes_stay(tmp_path):
    once = fuse(small(), tmp_path)
    twice = fuse_file(once.path, tmp_path / "twice.pt")
    assert twice.report.summary.layers_replaced == 0
    assert "nothing to replace" in twice.report.notes[0]
    thrice = fuse_file(twice.path, tmp_path / "thrice.pt")
    assert twice.path.read_bytes() == thrice.path.read_bytes() == once.path.read_bytes()


def test_a_file_whose_norm_was_refused_is_not_said_to_be_fused_already(tmp_path):
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    kept = fuse(nn.Sequential(nn.Conv2d(4, 4, 3), norm).eval(), tmp_path)
    assert [part.path for part in kept.report.refused] == ["1"]
    assert not kept.report.replaced
    assert "was refused" in kept.report.notes[0]
    assert not any("is one already" in note for note in kept.report.notes)


def test_the_same_file_gives_the_same_bytes(tmp_path):
    first = fuse(small(), tmp_path)
    again = fuse_file(tmp_path / "source.pt", tmp_path / "again.pt")
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.report.output == again.report.output


def test_a_training_checkpoint_keeps_all_but_training_state(tmp_path):
    model, ema = small(), small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(X).sum().backward()
    optimizer.step()
    content = {
        "epoch": 7,
        "best_fitness": np.float64(0.5),
        "model": model.half(),
        "ema": ema,
        "updates": 12,
        "optimizer": optimizer.state_dict(),
        "names": ["a", "b"],
        "history": np.arange(4),
    }
    result = fuse(content, tmp_path)
    loaded = result.loaded
    assert list(loaded) == list(content)
    assert loaded["ema"] is None
    assert loaded["optimizer"] is None
    assert (loaded["epoch"], loaded["best_fitness"], loaded["updates"]) == (7, 0.5, 12)
    assert type(loaded["best_fitness"]) is np.float64
    assert loaded["history"].tolist() == [0, 1, 2, 3]
    assert error(ema, loaded["model"], X) < tolerance(torch.float32)
    assert result.report.input.detected.source == "ema"
    removed = {part.path: part.bytes for part in result.report.removed}
    assert removed.keys() == {"optimizer", "model"}
    assert result.report.summary.bytes_stripped == sum(removed.values()) > 0
    assert result.report.summary.layers_removed == 0


def test_what_was_stripped_and_saved_adds_up_to_what_the_tensors_lost(tmp_path):
    ema, model = small(), small()
    model[0][0].weight = ema[0][0].weight
    content = {"ema": ema, "model": model, "ema_model": model, "optimizer": list(model.parameters())}
    result = fuse(content, tmp_path)
    before, after = [tensor_bytes(path) for path in (tmp_path / "source.pt", result.path)]
    assert before - after == result.report.summary.bytes_stripped + result.report.summary.bytes_saved_by_fusing


def tensor_bytes(path):
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist() if "/data/" in entry.filename)


@pytest.mark.parametrize("key", ["model", "ema", "net", "network", "state_dict", "my_model"])
def test_a_module_is_found_under_its_key(key, tmp_path):
    model = small()
    result = fuse({"epoch": 1, key: model}, tmp_path)
    written = "model" if key == "ema" else key
    assert error(model, result.loaded[written], X) < tolerance(torch.float32)
    assert result.report.input.detected.source == key


def test_a_state_dict_under_ema_gives_way_to_the_module(tmp_path):
    model = small()
    result = fuse({"ema": model.state_dict(), "model": model}, tmp_path)
    assert counted(result.loaded["model"], BATCH_NORMS) == 0
    assert result.loaded["ema"] is None
    assert result.report.input.detected.source == "model"


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.optim.swa_utils.AveragedModel(model),
        lambda m: nn.DataParallel(nn.DataParallel(m)),
        lambda m: torch.compile(m, backend="eager"),
    ],
    ids=["DataParallel", "AveragedModel", "twice", "compile"],
)
def test_wrappers_are_looked_through_and_kept(wrap, tmp_path):
    model = small()
    wrapped = wrap(copy.deepcopy(model))
    result = fuse({"model": wrapped}, tmp_path)
    loaded = result.loaded["model"]
    assert type(loaded) is type(wrapped)
    assert counted(loaded, BATCH_NORMS) == 0
    assert error(model, loaded, X) < tolerance(torch.float32)
    assert result.report.equivalence.scope == "model"
    assert result.report.input.detected.wrappers[0].endswith(type(wrapped).__name__)


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"model": w}, lambda w: {"epoch": 1, "ema": None, "weights": w}]
)
def test_the_weights_alone_need_the_model(wrap, tmp_path):
    with pytest.raises(NeedsArchitecture) as caught:
        fuse(wrap(small().state_dict()), tmp_path)
    assert "torch.save" in caught.value.remedy
    assert not (tmp_path / "target.pt").exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 7, {"a": 1}, {}, "text", None, {"opt": [torch.zeros(2)]}])
def test_a_file_without_a_model_is_refused(content, tmp_path):
    with pytest.raises(NothingToFuse):
        fuse(content, tmp_path)
    assert not (tmp_path / "target.pt").exists()


# --- odd but honest models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3), norm(4), nn.Identity(), nn.Sequential(), nn.ReLU(), nn.Linear(3, 2)]
)
def test_a_single_layer_comes_back_as_it_is(layer, tmp_path):
    result = fuse(layer, tmp_path)
    assert str(result.loaded) == str(layer)
    assert result.report.summary.layers_replaced == 0
    assert result.report.summary.batch_norms_after == counted(layer, BATCH_NORMS) == len(result.report.refused)


class Called(nn.ReLU):
    """A layer that the file has as the result of a call."""

    def __reduce__(self):
        return Called, (), self.__dict__


@pytest.mark.parametrize(
    "between",
    [Called(), torch.compile(nn.ReLU(), backend="eager"), torch.fx.symbolic_trace(nn.Sequential(nn.ReLU()))],
    ids=["called", "compiled", "traced"],
)
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: Unknown(m=m), lambda m: nn.Sequential(m, nn.ReLU())])
def test_a_layer_that_can_not_be_read_parts_those_around_it(between, wrap, tmp_path):
    model = wrap(nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), between, norm(4), nn.Conv2d(4, 4, 3), between, norm(4)))
    called = (f"{Called.__module__}.Called", "torch.fx.graph_module.reduce_graph_module", "torch.fx._symbolic_trace.*")
    result = fuse(model.eval(), tmp_path, allowed_globals=called)
    assert counted(result.loaded, BATCH_NORMS) == 1
    assert error(model, result.loaded, X) < tolerance(torch.float32)
    assert set(result.codes.values()) == {"data-flow-not-proven"}


def test_sequentials_nested_thirty_deep_are_followed(tmp_path):
    model = pair(nn.Conv2d(4, 4, 3))
    for _ in range(30):
        model = nn.Sequential(model)
    result = fuse(model, tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 0
    assert error(model, result.loaded, X) < tolerance(torch.float32)


def test_a_tree_deeper_than_any_real_one_is_too_large(tmp_path):
    model = nn.Sequential()
    for _ in range(115):
        model = nn.Sequential(model)
    with pytest.raises(TooLarge, match="deep"):
        fuse(model, tmp_path)


def test_modules_that_share_modules_without_end_are_too_large_at_once(tmp_path):
    model: nn.Module = nn.ReLU()
    for _ in range(40):
        model = nn.Sequential(model, model)
    with pytest.raises(TooLarge, match="unfolds"):
        fuse(model, tmp_path)


def test_modules_that_share_modules_within_reason_end(tmp_path):
    model: nn.Module = pair(nn.Conv2d(4, 4, 1))
    for _ in range(8):
        model = nn.Sequential(model, model)
    result = fuse(Unknown(a=model), tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 1


def test_a_module_that_contains_itself_ends(tmp_path):
    model = Unknown(body=pair(nn.Conv2d(4, 4, 3)))
    model._modules["again"] = model
    result = fuse(model, tmp_path)
    assert counted(result.loaded.body, BATCH_NORMS) == 0
    assert result.loaded.again is result.loaded


def test_a_sequential_that_contains_itself_ends(tmp_path):
    model = pair(nn.Conv2d(4, 4, 3))
    model._modules["again"] = model
    assert fuse(model, tmp_path).loaded._modules["again"] is not None


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_weight_norm_is_computed_once_and_what_follows_folds_in(tmp_path):
    """The hooked form; a parametrized module can't be pickled."""
    conv = torch.nn.utils.weight_norm(nn.Conv2d(4, 4, 3))
    model = nn.Sequential(conv, norm(4), nn.ReLU(), nn.Conv2d(4, 4, 3), norm(4)).eval()
    with torch.no_grad():
        model[0](X)
        model[0].weight = model[0].weight.detach()
    result = fuse(model, tmp_path)
    assert not result.codes
    assert not result.loaded[0]._forward_pre_hooks
    assert all(isinstance(result.loaded[index], nn.Identity) for index in (1, 4))
    assert error(model, result.loaded, X) < tolerance(torch.float32)


def _hook(module, args, output):
    return output * 2


def test_a_convolution_with_a_hook_keeps_its_norm_and_the_others_lose_theirs(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 3), norm(4)).eval()
    model[0].register_forward_hook(_hook)
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "Identity"]
    assert error(model, result.loaded, X) < tolerance(torch.float32)
    assert not result.report.replaced[0].assumed  # the file's own Sequential says what follows what


def _doubled(x):
    return 2 * x


def test_an_instance_attribute_forward_bounds_what_is_fused(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 3), norm(4)).eval()
    model[1].forward = _doubled
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "Identity"]
    assert error(model, result.loaded, X) < tolerance(torch.float32)


def test_nothing_of_a_sequential_with_a_forward_of_its_own_is_fused(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), norm(4)).eval()
    model.forward = _doubled
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "BatchNorm2d"]
    assert result.codes == {"1": "data-flow-not-proven"}


def test_a_module_that_an_attribute_refers_to_is_left(tmp_path):
    model = Unknown(body=nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 3), norm(4)).eval())
    model.alias = [model.body[1]]
    result = fuse(model, tmp_path)
    assert result.codes == {"body.1": "referenced-elsewhere"}
    assert result.loaded.alias[0] is result.loaded.body[1]


def test_a_module_registered_twice_is_left(tmp_path):
    body = pair(nn.Conv2d(4, 4, 3))
    result = fuse(Unknown(a=body, b=body), tmp_path)
    assert set(result.codes.values()) == {"registered-twice"}
    assert result.loaded.a is result.loaded.b


# --- what is proved, assumed, unknown --------------------------------------------------------------------------------


def test_child_order_in_an_unknown_class_proves_nothing(tmp_path):
    model = Unknown(conv=nn.Conv2d(4, 4, 3), bn=norm(4), relu=nn.ReLU())
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert result.codes == {"bn": "data-flow-not-proven"}
    assert "Unknown" in result.report.refused[0].reason
    assert result.report.equivalence.scope == "none"


def test_sequentials_of_an_unknown_class_are_assumed_and_said_to_be(tmp_path):
    model = Unknown(a=pair(nn.Conv2d(4, 6, 3)), b=pair(nn.Conv2d(6, 4, 3)), bn=norm(4))
    result = fuse(model, tmp_path)
    assert [part.assumed for part in result.report.replaced] == [True, True]
    assert any(note.startswith("2 of 2 replacements assume the usual data flow") for note in result.report.notes)
    assert result.report.equivalence.scope == "blocks"
    assert result.codes == {"bn": "data-flow-not-proven"}
    assert error(model, result.loaded, X) < tolerance(torch.float32)


def test_strict_refuses_what_is_assumed_and_only_that(tmp_path):
    model = Unknown(a=pair(nn.Conv2d(4, 6, 3)), b=pair(nn.Conv2d(6, 4, 3)))
    result = fuse(model, tmp_path, strict=True)
    assert result.codes == {"a.1": "data-flow-assumed", "b.1": "data-flow-assumed"}
    assert counted(result.loaded, BATCH_NORMS) == 2
    assert result.report.summary.layers_replaced == 0
    proved = fuse(small(), tmp_path, strict=True).report
    assert proved.summary.layers_replaced == 2
    assert not any("assume" in note for note in proved.notes)


@pytest.mark.parametrize("option", ["architecture", "probe_shape"])
def test_a_file_without_a_model_is_told_so_whatever_option_is_given(tmp_path, option):
    torch.save({"outer": {"inner": {"state_dict": {"conv.weight": torch.ones(1, 1, 3, 3)}}}}, tmp_path / "deep.pt")
    with pytest.raises(NothingToFuse):
        fuse_checkpoint(tmp_path / "deep.pt", tmp_path / "out.pt", FuseOptions(**{option: "x"}), filename="deep.pt")


def test_a_sequential_is_followed_to_where_the_shapes_stop_to_fit(tmp_path):
    features = [nn.Conv2d(1, 4, 3), norm(4), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*features, nn.Linear(4 * 26 * 26, 8), norm(8, 1), nn.ReLU(), nn.Linear(8, 3)).eval()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 0
    assert error(model, result.loaded, torch.randn(3, 1, 28, 28)) < tolerance(torch.float32)


@pytest.mark.parametrize(
    "head",
    [
        [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 4)],
        [nn.Linear(4, 4), nn.Softmax(dim=2), nn.Linear(4, 4)],
        [nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.ReLU()],
        [nn.Conv2d(4, 4, 1), nn.LayerNorm((4, 5, 5)), nn.ReLU()],
        [nn.Conv2d(4, 4, 3, padding=40, padding_mode="reflect"), nn.ReLU()],
        [nn.ReLU(), nn.AvgPool1d(80), nn.Conv1d(4, 4, 1)],
    ],
    ids=["pool and flatten", "attention", "sequence", "fixed size", "reflection", "long pool"],
)
def test_layers_that_do_not_take_the_example_maps_keep_nobody_else_from_being_fused(head, tmp_path):
    body = nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.ReLU())
    result = fuse(Unknown(body=body, head=nn.Sequential(*head)).eval(), tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 0
    assert [part.path for part in result.report.replaced] == ["body.0"]


def test_a_net_for_sound_with_long_kernels_is_fused(tmp_path):
    first = [nn.Conv1d(1, 4, 80, stride=4), norm(4, 1), nn.ReLU(), nn.MaxPool1d(4)]
    model = nn.Sequential(*first, nn.Conv1d(4, 6, 9, dilation=16), norm(6, 1), nn.ReLU()).eval()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 0
    assert error(model, result.loaded, torch.randn(1, 1, 4000)) < tolerance(torch.float32)


def test_a_perceptron_that_starts_with_a_batch_norm_is_followed(tmp_path):
    model = nn.Sequential(norm(5, 1), nn.Linear(5, 8), norm(8, 1), nn.ReLU()).eval()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, BATCH_NORMS) == 0
    assert error(model, result.loaded, torch.randn(3, 5)) < tolerance(torch.float32)


def test_every_batch_norm_that_is_left_has_a_code_and_a_sentence(tmp_path):
    model = nn.Sequential(
        Unknown(conv=nn.Conv2d(4, 4, 3), bn=norm(4)),
        norm(4),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        norm(4),
        nn.Sequential(nn.Conv2d(4, 4, 3), norm(4, track_running_stats=False)),
        norm(4),
    ).eval()
    for strict in (False, True):
        result = fuse(model, tmp_path, strict=strict)
        left = {name for name, part in result.loaded.named_modules() if isinstance(part, BATCH_NORMS)}
        assert left
        assert left <= result.codes.keys()
        assert all(" " in part.reason and part.code.islower() for part in result.report.refused)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_widens_every_half_parameter_and_buffer_and_keeps_ties(dtype, tmp_path):
    model = nn.Sequential(small(), norm(6), nn.ReLU(), norm(6), nn.Conv2d(6, 6, 3, padding=1)).to(dtype)
    model[3].weight = model[1].weight
    result = fuse(model, tmp_path, dtype="float32")
    kinds = {tensor.dtype for tensor in [*result.loaded.parameters(), *result.loaded.buffers()]}
    assert kinds == {torch.float32, torch.int64}
    assert result.loaded[1].weight is result.loaded[3].weight
    assert result.report.equivalence.native.dtype == "float32"
    assert error(model, result.loaded, X) < tolerance(torch.float32)


def test_a_max_error_that_the_file_can_not_keep_fails_and_leaves_no_file(tmp_path):
    with pytest.raises(NotEquivalent, match="max_error") as caught:
        fuse(small().half(), tmp_path, max_error=1e-7)
    assert not (tmp_path / "target.pt").exists()
    json.dumps(caught.value.facts, allow_nan=False)
    assert fuse(small().half(), tmp_path, max_error=0.5).report.equivalence.passed
    assert fuse(small().half(), tmp_path, max_error=1e-5, dtype="float32").report.equivalence.passed


# --- never silently wrong --------------------------------------------------------------------------------------------


def test_a_model_whose_outputs_are_not_finite_is_refused_with_the_parameter(tmp_path):
    model = small()
    model[0][0].weight.data[:, 1] = torch.nan
    with pytest.raises(UnsupportedContent, match=r"0\.0\.weight"):
        fuse(model, tmp_path)
    assert not (tmp_path / "target.pt").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_operator_without_a_kernel_in_half_precision_is_judged_in_float32(dtype, tmp_path):
    model = nn.Sequential(nn.Conv3d(4, 4, 3), norm(4, 3), nn.ReLU(), nn.AvgPool3d(2)).to(dtype).eval()
    result = fuse(model, tmp_path)
    assert result.report.equivalence.native.dtype in (str(dtype)[len("torch.") :], "float32")
    assert result.report.summary.layers_replaced == 1


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.complex64])
def test_blocks_beside_many_weights_of_an_odd_dtype_are_judged_in_float32(dtype, tmp_path):
    packed = nn.Linear(64, 64)
    packed.weight = nn.Parameter(packed.weight.detach().to(dtype), requires_grad=False)
    result = fuse(Unknown(packed=packed, block=small()).eval(), tmp_path)
    assert result.report.equivalence.native.dtype == "float32"
    assert counted(result.loaded, BATCH_NORMS) == 0


def test_what_fp16_can_not_run_is_judged_in_float32(tmp_path):
    model = small()
    model[0][1].weight.data.mul_(1e4)
    model[0][1].bias.data.mul_(1e4)
    model[1][0].weight.data.mul_(60)
    model = nn.Sequential(model[0], nn.Conv2d(4, 4, 3, groups=4), model[1]).half().eval()
    model[1].weight.data.fill_(200.0)
    result = fuse(model, tmp_path)
    assert result.report.equivalence.native.dtype == "float32"


def test_the_report_round_trips_and_fits_its_schema(tmp_path):
    for model in (small(), Unknown(a=small(), bn=norm(3)), nn.ReLU(), small().half()):
        report = fuse(model, tmp_path).report
        text = report.model_dump_json()
        assert Report.model_validate_json(text) == report
        jsonschema.validate(json.loads(text), Report.model_json_schema())
        assert "NaN" not in text
        assert "Infinity" not in text


def test_the_reports_counts_are_those_of_the_loaded_model(tmp_path):
    model = nn.Sequential(small(), norm(6), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1)).eval()
    result = fuse(model, tmp_path)
    summary, loaded = result.report.summary, result.loaded
    assert summary.parameters_before == sum(p.numel() for p in model.parameters())
    assert summary.parameters_after == sum(p.numel() for p in loaded.parameters())
    assert (summary.batch_norms_before, summary.batch_norms_after) == (
        counted(model, BATCH_NORMS),
        counted(loaded, BATCH_NORMS),
    )
    assert (summary.convolutions_before, summary.convolutions_after) == (counted(model, CONVS), counted(loaded, CONVS))
    held = [sum(t.nbytes for t in m.state_dict().values()) for m in (model, loaded)]
    assert summary.bytes_saved_by_fusing == held[0] - held[1]
    assert result.report.output.bytes == result.path.stat().st_size


def test_inspecting_tells_what_fusing_would_read(tmp_path):
    torch.save({"model": small()}, tmp_path / "model.pt")
    inspection = inspect_checkpoint(tmp_path / "model.pt", filename="model.pt")
    assert inspection.input.detected.batch_norms == 2
    assert {part.class_path.rpartition(".")[2]: part.count for part in inspection.read_as} == Counter(
        type(part).__name__ for part in small().modules()
    )
    assert "torch.nn.modules.conv.Conv2d" in inspection.globals


def test_a_thousand_layers_take_seconds_at_most(tmp_path):
    layers = [layer for _ in range(334) for layer in pair(nn.Conv2d(2, 2, 1))]
    torch.save(trained(nn.Sequential(*layers)).eval(), tmp_path / "deep.pt")
    report = fuse_checkpoint(tmp_path / "deep.pt", tmp_path / "out.pt", FuseOptions(), filename="deep.pt")
    assert report.summary.layers_replaced == 334


def test_every_one_of_many_sequentials_of_an_unknown_class_is_fused(tmp_path):
    model = Unknown(**{f"block{index}": pair(nn.Conv2d(2, 2, 1)) for index in range(300)})
    report = fuse(model, tmp_path).report
    assert report.summary.layers_replaced == 300
