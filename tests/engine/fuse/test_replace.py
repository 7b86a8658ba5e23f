"""Which stretches become one convolution, held to torch's own layers run one after the other."""

import copy

import pytest
import torch
from torch import nn

from app.engine.formats import read_file, write_file
from app.engine.ir.checkpoint import storages
from app.engine.pipeline import fuse_checkpoint
from app.errors import UnsafeGlobals, UnsupportedContent
from app.options import FuseOptions
from tests.engine.nets import classes, counted, error, fuse, fuse_file, norm, pair, tolerance, trained

X1, X2, X3 = torch.randn(2, 4, 19), torch.randn(2, 4, 13, 17), torch.randn(2, 4, 7, 6, 5)

FOLDED = {
    "without bias": (nn.Conv2d(4, 6, 3, bias=False), X2),
    "with bias": (nn.Conv2d(4, 6, 3), X2),
    "padded": (nn.Conv2d(4, 6, 3, padding=1), X2),
    "strided": (nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(0, 2)), X2),
    "dilated": (nn.Conv2d(4, 6, 3, padding=2, dilation=2), X2),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), X2),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), X2),
    "reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), X2),
    "circular": (nn.Conv2d(4, 6, (3, 1), padding=(1, 0), padding_mode="circular"), X2),
    "replicate": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"), X2),
    "same": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), X2),
    "same, even kernel": (nn.Conv2d(4, 6, (4, 3), padding="same"), X2),
    "same, even kernel, reflect": (nn.Conv2d(4, 6, (2, 4), padding="same", padding_mode="reflect"), X2),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), X2),
    "one dimension": (nn.Conv1d(4, 6, 3, padding=1), X1),
    "three dimensions": (nn.Conv3d(4, 6, 3, padding=1, stride=2), X3),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), X2),
    "transposed, grouped": (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2), X2),
    "transposed, dilated, one dimension": (nn.ConvTranspose1d(4, 6, 3, dilation=2, groups=2), X1),
    "transposed, three dimensions": (nn.ConvTranspose3d(4, 2, 2, stride=2), X3),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kind", FOLDED)
def test_a_batch_norm_after_a_convolution_is_folded(kind, tmp_path):
    conv, x = FOLDED[kind]
    model = pair(conv)
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == [type(conv).__name__, "Identity", "SiLU"]
    assert error(model, result.loaded, x) < tolerance(torch.float32)
    assert result.report.replaced[0].before[1] == "BatchNorm"
    assert not result.report.refused


def test_the_fused_layer_keeps_what_folding_does_not_touch(tmp_path):
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2).to(memory_format=torch.channels_last)
    conv.note = ["kept"]
    result = fuse(pair(conv).train(), tmp_path)
    fused = result.loaded[0]
    assert fused.note == ["kept"]
    assert fused.training
    assert fused.weight.stride() == conv.weight.stride()
    assert not fused.weight.requires_grad
    assert fused.extra_repr() == conv.extra_repr()


def test_the_fused_layer_is_loaded_to_the_device_of_the_original(tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 6, 3)), pair(nn.ConvTranspose2d(6, 6, 2)))
    torch.save(model, tmp_path / "saved.pt")
    file = read_file(tmp_path / "saved.pt")
    for storage in storages(file.root):
        storage.location = "cuda:1"
    write_file(file, file.root, tmp_path / "source.pt")
    fuse_checkpoint(tmp_path / "source.pt", tmp_path / "target.pt", FuseOptions(), filename="source.pt")
    written = read_file(tmp_path / "target.pt").root
    assert {storage.location for storage in storages(written)} == {"cuda:1"}


def test_a_padding_that_was_changed_later_counts_only_where_torch_reads_it(tmp_path):
    for mode in ("zeros", "reflect", "circular"):
        model = pair(nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode=mode))
        model[0].padding = (3, 0)
        result = fuse(model, tmp_path)
        assert classes(result.loaded) == ["Conv2d", "Identity", "SiLU"]
        assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_convolution_whose_inner_forward_was_replaced_is_left(tmp_path):
    model = pair(nn.Conv2d(4, 6, 3))
    model[0]._conv_forward = model[0]._conv_forward
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == classes(model)
    assert result.codes.keys() == {"1"}


@pytest.mark.parametrize("options", [{"affine": False}, {"eps": 0.1}, {"momentum": None}])
def test_batch_norms_of_other_settings_are_folded(options, tmp_path):
    model = pair(nn.Conv2d(4, 6, 3), **options)
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_sync_batch_norm_is_folded(tmp_path):
    plain = pair(nn.Conv2d(4, 6, 3))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "Identity", "SiLU"]
    assert error(plain, result.loaded, X2) < tolerance(torch.float32)


def test_an_instance_norm_of_stored_statistics_is_folded(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.InstanceNorm2d(6, affine=True, track_running_stats=True)).eval()
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "Identity"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


@pytest.mark.parametrize(
    "kind",
    [nn.InstanceNorm2d(6), nn.GroupNorm(2, 6), nn.LayerNorm(6), nn.RMSNorm(6)],
    ids=lambda kind: type(kind).__name__,
)
def test_a_norm_of_its_input_stays_with_its_reason(kind, tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 6, 3), kind, nn.ReLU(), pair(nn.Conv2d(6, 6, 3))).eval()
    result = fuse(model, tmp_path)
    assert result.codes == {"1": "norm-of-the-input"}
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0


def test_lazy_layers_that_have_seen_nothing_are_refused_by_what_would_make_their_weights(tmp_path):
    model = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), pair(nn.Conv2d(6, 6, 3)))
    with pytest.raises(UnsafeGlobals, match=r"torch\.nn\.parameter\.UninitializedBuffer"):
        fuse(model, tmp_path)


def test_a_lazy_batch_norm_that_has_seen_an_input_is_folded(tmp_path):
    model = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU())
    model(X2)
    assert counted(fuse(model.eval(), tmp_path).loaded, [nn.BatchNorm2d]) == 0


def test_a_batch_norm_without_running_statistics_stays_with_its_reason(tmp_path):
    model = pair(nn.Conv2d(4, 6, 3), track_running_stats=False)
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == classes(model)
    assert result.codes == {"1": "batch-norm-without-statistics"}


@pytest.mark.parametrize("variance", [0.0, 1e-40, 1e-42])
def test_a_zero_or_denormal_variance_keeps_its_eps(variance, tmp_path):
    model = pair(nn.Conv2d(4, 6, 3))
    model[1].running_var[::2] = variance
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(torch.float32, 8)


def test_a_variance_that_overflowed_to_infinity_silences_its_channel_and_no_more(tmp_path):
    model = pair(nn.Conv2d(4, 6, 3)).half()
    model[1].running_var[2] = 1e6
    assert model[1].running_var.isinf().any()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(torch.float16)


def test_a_batch_norm_before_an_unpadded_convolution_is_folded(tmp_path):
    model = nn.Sequential(norm(4), nn.Conv2d(4, 6, 3, stride=2, groups=2)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Identity", "Conv2d"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_batch_norm_before_a_padded_convolution_stays(tmp_path):
    model = nn.Sequential(norm(4), nn.Conv2d(4, 6, 3, padding=1)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["BatchNorm2d", "Conv2d"]
    assert result.codes == {"0": "border-differs"}


@pytest.mark.parametrize("padding", [0, 1])
def test_a_padded_pointwise_convolution_is_treated_as_padded(padding, tmp_path):
    model = nn.Sequential(norm(4), nn.Conv2d(4, 6, 1, padding=padding)).eval()
    result = fuse(model, tmp_path)
    assert result.report.summary.batch_norms_after == padding
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_batch_norm_behind_an_activation_does_not_reach_the_convolution_before_it(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), norm(6)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert result.codes == {"2": "no-convolution-beside"}


def test_several_norms_around_one_convolution_all_go(tmp_path):
    model = nn.Sequential(norm(4), nn.Conv2d(4, 6, 1), norm(6), norm(6), nn.ReLU()).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Identity", "Conv2d", "Identity", "Identity", "ReLU"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_linear_with_batch_norm_on_rows_is_folded(tmp_path):
    model = nn.Sequential(nn.Linear(5, 7), norm(7, 1), nn.ReLU()).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Linear", "Identity", "ReLU"]
    assert error(model, result.loaded, torch.randn(3, 5)) < tolerance(torch.float32)
    assert result.report.replaced[0].assumed  # rows are what the file does not prove


def test_a_linear_on_sequences_does_not_take_the_batch_norm_of_another_dimension(tmp_path):
    model = nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Linear(67, 8), norm(8, 1)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv1d", "ReLU", "Linear", "BatchNorm1d"]
    assert list(result.codes) == ["3"]


def test_a_batch_norm_of_sequences_before_a_linear_stays(tmp_path):
    model = nn.Sequential(nn.Conv1d(4, 8, 1), norm(8, 1), nn.Linear(67, 3), norm(8, 1)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv1d", "Identity", "Linear", "BatchNorm1d"]
    assert error(model, result.loaded, torch.randn(2, 4, 67)) < tolerance(torch.float32)


def test_linears_in_a_row_collapse_where_the_product_is_not_larger(tmp_path):
    wide = nn.Sequential(nn.Linear(6, 32), nn.Linear(32, 4))
    assert classes(fuse(wide, tmp_path).loaded) == ["Identity", "Linear"]
    narrow = nn.Sequential(nn.Linear(32, 2), nn.Linear(2, 32))
    assert classes(fuse(narrow, tmp_path).loaded) == ["Linear", "Linear"]
    x = torch.randn(3, 5, 6)
    assert error(wide, fuse(wide, tmp_path).loaded, x) < tolerance(torch.float32)


def test_a_pointwise_convolution_before_another_is_taken_in_only_where_that_is_not_larger(tmp_path):
    expands = nn.Sequential(nn.Conv2d(4, 32, 1, bias=False), nn.Conv2d(32, 6, 3, padding=1)).eval()
    result = fuse(expands, tmp_path)
    assert classes(result.loaded) == ["Identity", "Conv2d"]
    assert error(expands, result.loaded, X2) < tolerance(torch.float32)
    squeezes = nn.Sequential(nn.Conv2d(64, 4, 1, bias=False), nn.Conv2d(4, 64, 3, padding=1)).eval()
    assert classes(fuse(squeezes, tmp_path).loaded) == ["Conv2d", "Conv2d"]


def test_a_bias_before_a_padded_convolution_keeps_the_two_apart(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 32, 1), nn.Conv2d(32, 6, 3, padding=1)).eval()
    assert classes(fuse(model, tmp_path).loaded) == ["Conv2d", "Conv2d"]


def test_each_convolution_of_a_pair_that_stays_apart_takes_its_own_norm(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), norm(6), nn.Conv2d(6, 8, 3, padding=1), norm(8)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "Identity", "Conv2d", "Identity"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_long_chain_of_linear_convolutions_neither_grows_nor_ends_in_a_recursion(tmp_path):
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1, bias=False) for _ in range(150))).eval()
    with torch.no_grad():
        for conv in model:
            nn.init.orthogonal_(conv.weight)
    result = fuse(model, tmp_path)
    assert result.report.summary.convolutions_after < 10
    assert error(model, result.loaded, X2) < tolerance(torch.float32, 150)


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AvgPool2d(3, stride=1, padding=1),
        nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
    ],
)
def test_an_average_pool_that_would_cost_parameters_stays_beside_its_fused_neighbours(pool, tmp_path):
    model = nn.Sequential(pool, nn.Conv2d(4, 2, 1), norm(2)).eval()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(torch.float32)
    assert classes(result.loaded) == ["AvgPool2d", "Conv2d", "Identity"]


def test_a_pool_that_only_thins_out_is_taken_in_as_a_stride(tmp_path):
    """A kernel of one tap costs nothing: the pool only thins out what the convolution computes."""
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.AvgPool2d(1, stride=2), norm(6)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "Identity", "Identity"]
    assert result.loaded[0].stride == (2, 2)
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_norm_before_a_pool_that_pads_nothing_passes_through_it(tmp_path):
    model = nn.Sequential(norm(4), nn.AvgPool2d(1, stride=2), nn.Conv2d(4, 2, 1, bias=False), norm(2)).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Identity", "Identity", "Conv2d", "Identity"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_a_convolution_called_twice_keeps_its_batch_norms(tmp_path):
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, norm(4), nn.ReLU(), conv, norm(4)).eval()
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 2
    assert set(result.codes.values()) == {"called-twice"}
    assert result.loaded[0] is result.loaded[3]


def test_a_pair_called_twice_stays_as_it_is(tmp_path):
    shared = pair(nn.Conv2d(4, 4, 3, padding=1))
    result = fuse(nn.Sequential(shared, shared).eval(), tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 1
    assert set(result.codes.values()) == {"called-twice"}


def test_convolutions_with_tied_weights_keep_their_norms(tmp_path):
    first, second = pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3))
    second[0].weight = first[0].weight
    result = fuse(nn.Sequential(first, second), tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 2
    assert result.loaded[0][0].weight is result.loaded[1][0].weight
    assert set(result.codes.values()) == {"weights-shared"}


def test_norms_that_share_their_parameters_stay(tmp_path):
    first, second = pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3))
    second[1].weight = first[1].weight
    result = fuse(nn.Sequential(first, second), tmp_path)
    assert set(result.codes.values()) == {"weights-shared"}


def test_views_into_one_flat_storage_that_do_not_overlap_are_folded(tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 6, 3)))
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    torch.nn.utils.vector_to_parameters(flat, model.parameters())
    result = fuse(model, tmp_path)
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_views_that_overlap_are_left(tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3)))
    flat = torch.randn(300)
    for index, start in enumerate((0, 100)):
        model[index][0].weight = nn.Parameter(flat[start : start + 144].view(4, 4, 3, 3))
    result = fuse(model, tmp_path)
    assert set(result.codes.values()) == {"weights-shared"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_kept_and_rounded_once(dtype, tmp_path):
    model = nn.Sequential(*(pair(nn.Conv2d(4, 4, 3, padding=1)) for _ in range(3))).to(dtype)
    result = fuse(model, tmp_path)
    assert {part.dtype for part in result.loaded.parameters()} == {dtype}
    assert counted(result.loaded, [nn.BatchNorm2d]) == 0
    assert error(model, result.loaded, X2) < tolerance(dtype)


def test_a_fold_that_overflows_fp16_is_left_with_the_numbers(tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3)))
    model[1][1].running_var.fill_(1e-7)
    model[1][1].eps = 1e-7
    model[1][1].weight.data.fill_(20.0)
    model[1][0].weight.data.fill_(30.0)
    model = model.half()
    model[1][1].running_var.fill_(1e-7)
    result = fuse(model, tmp_path)
    assert result.codes == {"1.1": "overflow"}
    assert "65504" in result.report.refused[0].reason.replace(",", "").replace("6.55e+04", "65504")
    assert counted(result.loaded, [nn.BatchNorm2d]) == 1
    assert result.report.equivalence.passed


@pytest.mark.parametrize("gain", [1e-4, 1e-6, 3e-8])
def test_a_fold_that_vanishes_in_fp16_does_not_cost_the_whole_file(gain, tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3)))
    model[1][1].weight.data.fill_(gain)
    model[1][1].bias.data.zero_()
    model[1][1].running_mean.zero_()
    model = model.half()
    result = fuse(model, tmp_path)
    assert result.report.equivalence.passed
    assert error(model, result.loaded, X2) < tolerance(torch.float16, 8)


def test_weights_that_are_not_finite_are_refused_by_their_path(tmp_path):
    model = nn.Sequential(pair(nn.Conv2d(4, 4, 3)), pair(nn.Conv2d(4, 4, 3))).eval()
    model[1][1].bias.data[1] = torch.nan
    with pytest.raises(UnsupportedContent, match=r"^1\.1\.bias holds numbers that are not finite"):
        fuse(model, tmp_path)


def test_identities_and_dropouts_between_do_not_matter(tmp_path):
    layers = [nn.Conv2d(4, 6, 3), nn.Identity(), nn.Dropout(0.5), norm(6), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers).eval()
    result = fuse(model, tmp_path)
    assert classes(result.loaded) == ["Conv2d", "Identity", "Dropout", "Identity", "ReLU"]
    assert error(model, result.loaded, X2) < tolerance(torch.float32)


def test_identities_that_take_a_place_run_hooks_and_survive_a_second_save(tmp_path):
    result = fuse(pair(nn.Conv2d(4, 6, 3)), tmp_path)
    seen = []
    result.loaded[1].register_forward_hook(lambda *args: seen.append(1))
    result.loaded[0].register_forward_pre_hook(lambda *args: seen.append(2))
    result.loaded(X2)
    assert sorted(seen) == [1, 2]
    assert str(copy.deepcopy(result.loaded)) == str(result.loaded)
    result.loaded.float().train().state_dict()


def test_files_of_every_pickle_protocol_load_again(tmp_path):
    model = trained(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))).eval()
    outputs = []
    for protocol in (2, 3, 4, 5):
        torch.save(model, tmp_path / "protocol.pt", pickle_protocol=protocol)
        outputs.append(fuse_file(tmp_path / "protocol.pt", tmp_path / "out.pt").loaded[0].weight)
    assert all(torch.equal(outputs[0], other) for other in outputs)
