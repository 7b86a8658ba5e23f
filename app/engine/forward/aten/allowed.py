"""The aten operators that are read: pure, deterministic, and touching neither files nor devices. By exact name."""

from typing import Final


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# Applied to each element (and broadcast): what holds for one shape holds for all.
ELEMENTWISE: Final = _names("""
abs.default acos.default acosh.default add.Scalar add.Tensor addcdiv.default addcmul.default asin.default asinh.default
atan.default atan2.default atanh.default bitwise_and.Scalar bitwise_and.Tensor bitwise_left_shift.Tensor_Scalar
bitwise_not.default bitwise_or.Scalar bitwise_or.Tensor bitwise_right_shift.Tensor_Scalar bitwise_xor.Scalar
bitwise_xor.Tensor ceil.default celu.default clamp.Tensor clamp.default clamp_max.Tensor clamp_max.default
clamp_min.Tensor clamp_min.default clip.default copysign.Scalar copysign.Tensor cos.default cosh.default div.Scalar
div.Scalar_mode div.Tensor div.Tensor_mode elu.default eq.Scalar eq.Tensor erf.default erfc.default erfinv.default
exp.default exp2.default expm1.default fill.Scalar fill.Tensor floor.default floor_divide.default fmax.default
fmin.default fmod.Scalar fmod.Tensor frac.default ge.Scalar ge.Tensor gelu.default gt.Scalar gt.Tensor
hardshrink.default hardsigmoid.default hardswish.default hardtanh.default hypot.default isfinite.default isinf.default
isnan.default le.Scalar le.Tensor leaky_relu.default lerp.Scalar lerp.Tensor lgamma.default log.default log10.default
log1p.default log2.default log_sigmoid.default logaddexp.default logical_and.default logical_not.default
logical_or.default logical_xor.default logit.default lt.Scalar lt.Tensor masked_fill.Scalar masked_fill.Tensor
maximum.default minimum.default mish.default mul.Scalar mul.Tensor nan_to_num.default ne.Scalar ne.Tensor neg.default
pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor reciprocal.default relu.default relu6.default
remainder.Scalar remainder.Tensor round.default round.decimals rsqrt.default rsub.Scalar rsub.Tensor selu.default
sgn.default sigmoid.default sign.default signbit.default silu.default sin.default sinc.default sinh.default
softplus.default softshrink.default sqrt.default square.default sub.Scalar sub.Tensor tan.default
tanh.default threshold.default true_divide.Scalar true_divide.Tensor trunc.default where.ScalarOther
where.ScalarSelf where.Scalar where.self xlogy.Scalar_Other xlogy.Tensor zero.default __and__.Scalar __and__.Tensor
__or__.Scalar __or__.Tensor __xor__.Scalar __xor__.Tensor _prelu_kernel.default
""")

SHAPES: Final = _names("""
adjoint.default atleast_1d.default atleast_2d.default atleast_3d.default broadcast_tensors.default broadcast_to.default
cat.default channel_shuffle.default chunk.default column_stack.default concat.default concatenate.default diag.default
diag_embed.default diagonal.default dstack.default expand.default expand_as.default flatten.using_ints flip.default
fliplr.default flipud.default hstack.default meshgrid.default meshgrid.indexing movedim.int movedim.intlist
moveaxis.int moveaxis.intlist narrow.default permute.default pixel_shuffle.default pixel_unshuffle.default
ravel.default repeat.default repeat_interleave.self_int reshape.default reshape_as.default roll.default rot90.default
select.int slice.Tensor split.Tensor split.sizes split_with_sizes.default squeeze.default squeeze.dim squeeze.dims
stack.default swapaxes.default swapdims.default t.default tensor_split.indices tensor_split.sections tile.default
transpose.int tril.default triu.default unbind.int unflatten.int unsqueeze.default unsafe_chunk.default
unsafe_split.Tensor unsafe_split_with_sizes.default view.default view_as.default vstack.default _unsafe_view.default
as_strided.default
constant_pad_nd.default pad.default reflection_pad1d.default reflection_pad2d.default reflection_pad3d.default
replication_pad1d.default replication_pad2d.default replication_pad3d.default im2col.default col2im.default
native_channel_shuffle.default unfold.default mT.default mH.default
""")

_REDUCTIONS: Final = _names("""
all.default all.dim all.dims amax.default amin.default any.default any.dim any.dims argmax.default argmin.default
argsort.default argsort.stable count_nonzero.default count_nonzero.dim_IntList cummax.default cummin.default
cumprod.default cumsum.default frobenius_norm.dim linalg_norm.default linalg_vector_norm.default logcumsumexp.default
logsumexp.default max.default max.dim max.other mean.default mean.dim median.default median.dim min.default min.dim
min.other nanmean.default nansum.default norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype prod.default
prod.dim_int sort.default sort.stable std.correction std.default std.dim sum.default sum.dim_IntList topk.default
var.correction var.default var.dim var_mean.correction var_mean.default var_mean.dim std_mean.correction
_log_softmax.default _softmax.default log_softmax.int softmax.int aminmax.default kthvalue.default
""")

_INDEXING: Final = _names("""
bucketize.Tensor embedding.default gather.default index.Tensor index_add.default index_copy.default
index_fill.int_Scalar index_put.default index_select.default masked_scatter.default one_hot.default scatter.src
scatter.value scatter_add.default scatter_reduce.two searchsorted.Tensor select_scatter.default slice_scatter.default
take.default take_along_dim.default diagonal_scatter.default _unsafe_index.Tensor _unsafe_masked_index.default
embedding_bag.default
""")

_PRODUCTS: Final = _names("""
addbmm.default addmm.default addmv.default baddbmm.default bilinear.default bmm.default cdist.default
conv1d.default conv1d.padding conv2d.default conv2d.padding conv3d.default conv3d.padding conv_transpose1d.default
conv_transpose2d.input conv_transpose3d.input convolution.default _convolution.default cosine_similarity.default
cross.default dot.default einsum.default inner.default kron.default linalg_cross.default linalg_vecdot.default
linear.default matmul.default mm.default mv.default outer.default pairwise_distance.default
scaled_dot_product_attention.default tensordot.default vdot.default _cdist_forward.default _euclidean_dist.default
_scaled_dot_product_flash_attention_for_cpu.default linalg_matmul.default chain_matmul.default
prelu.default _trilinear.default _weight_norm.default gru.input lstm.input rnn_tanh.input rnn_relu.input
""")

_LAYERS: Final = _names("""
_adaptive_avg_pool2d.default _adaptive_avg_pool3d.default _native_batch_norm_legit.no_stats
_native_batch_norm_legit_functional.default _native_batch_norm_legit_no_training.default adaptive_avg_pool1d.default
adaptive_avg_pool2d.default adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default
adaptive_max_pool3d.default affine_grid_generator.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
batch_norm.default cudnn_batch_norm.default glu.default grid_sampler.default grid_sampler_2d.default
grid_sampler_3d.default group_norm.default instance_norm.default layer_norm.default local_response_norm.default
max_pool1d.default max_pool1d_with_indices.default max_pool2d.default max_pool2d_with_indices.default
max_pool3d.default max_pool3d_with_indices.default max_unpool2d.default native_batch_norm.default
native_group_norm.default native_layer_norm.default rms_norm.default _fused_rms_norm.default
upsample_bicubic2d.default upsample_bicubic2d.vec upsample_bilinear2d.default upsample_bilinear2d.vec
upsample_linear1d.default upsample_linear1d.vec upsample_nearest1d.default upsample_nearest1d.vec
upsample_nearest2d.default upsample_nearest2d.vec upsample_nearest3d.default upsample_nearest3d.vec
upsample_trilinear3d.default upsample_trilinear3d.vec _upsample_bilinear2d_aa.default _upsample_bilinear2d_aa.vec
_upsample_bicubic2d_aa.default _upsample_bicubic2d_aa.vec _upsample_nearest_exact1d.vec _upsample_nearest_exact2d.vec
_upsample_nearest_exact3d.vec _upsample_nearest_exact2d.default
""")

# They give what they take, or a copy of it, perhaps in another dtype.
_COPIES: Final = _names("""
_to_copy.default alias.default alpha_dropout.default clone.default contiguous.default detach.default detach_.default
detach_copy.default dropout.default feature_alpha_dropout.default feature_dropout.default lift.default
lift_fresh.default lift_fresh_copy.default native_dropout.default positive.default resolve_conj.default
resolve_neg.default to.device to.dtype to.dtype_layout to.other to.prim_Device type_as.default
view_as_real_copy.default view_copy.default copy.default
""")

# They make a tensor out of numbers.
CREATED: Final = _names("""
arange.default arange.start arange.start_step eye.default eye.m full.default full_like.default linspace.default
new_full.default new_ones.default new_zeros.default ones.default ones_like.default scalar_tensor.default
tril_indices.default triu_indices.default zeros.default zeros_like.default
""")

ALLOWED: Final = (
    ELEMENTWISE | SHAPES | _REDUCTIONS | _INDEXING | _PRODUCTS | _LAYERS | _COPIES | CREATED | _names("sym_size.int")
)

# What is written into a tensor, read as the operator of the same name without the underscore.
IN_PLACE: Final = _names("""
abs_.default add_.Scalar add_.Tensor addcdiv_.default addcmul_.default bitwise_and_.Tensor bitwise_or_.Tensor
ceil_.default celu_.default clamp_.default clamp_max_.default clamp_min_.default copy_.default div_.Scalar div_.Tensor
div_.Tensor_mode dropout_.default elu_.default erf_.default exp_.default fill_.Scalar fill_.Tensor floor_.default
gelu_.default hardsigmoid_.default hardswish_.default hardtanh_.default leaky_relu_.default lerp_.Scalar lerp_.Tensor
log_.default logical_and_.default logical_not_.default logical_or_.default masked_fill_.Scalar masked_fill_.Tensor
mish_.default mul_.Scalar mul_.Tensor neg_.default pow_.Scalar reciprocal_.default relu6_.default relu_.default
round_.default rsqrt_.default selu_.default sigmoid_.default silu_.default sqrt_.default square_.default sub_.Scalar
sub_.Tensor tanh_.default threshold_.default trunc_.default zero_.default
""")

# Each run gives other numbers: nothing could be compared.
RANDOM: Final = _names("""
bernoulli.default bernoulli.p multinomial.default normal.Tensor_Tensor normal.Tensor_float normal.float_Tensor
normal_functional.default poisson.default rand.default rand_like.default randint.default randint.low
randint_like.default randint_like.low_dtype randn.default randn_like.default randperm.default rrelu.default
rrelu_with_noise.default
""")

# They compute nothing; what they say of sizes is for the exporter.
CHECKS: Final = _names("""
_assert_scalar.default _assert_tensor_metadata.default sym_constrain_range.default
sym_constrain_range_for_size.default _functional_assert_scalar.default
""")

# Results are always new tensors, though no schema says so.
FRESH: Final = _names("""
adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default adaptive_max_pool1d.default
avg_pool1d.default batch_norm.default bilinear.default conv1d.default conv1d.padding conv2d.default conv2d.padding
conv3d.default conv3d.padding conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input group_norm.default
instance_norm.default layer_norm.default linear.default log_softmax.int matmul.default max_pool1d.default
max_pool2d.default max_pool3d.default pixel_shuffle.default pixel_unshuffle.default relu6.default rms_norm.default
scaled_dot_product_attention.default selu.default softmax.int square.default upsample_bicubic2d.vec
upsample_bilinear2d.vec upsample_linear1d.vec upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec
upsample_trilinear3d.vec var.default std.default true_divide.Tensor
""")
