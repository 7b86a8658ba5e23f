from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from app.engine.algebra import (
    Affine,
    ConvMap,
    Geometry,
    Refusal,
    affine_before_refusal,
    batch_norm_affine,
    fold_affine,
    fold_affine_before,
)
from tests.engine.algebra.drawn import (
    affine,
    apply,
    convs,
    exactly,
    few,
    inputs,
    numbers,
    run,
    seeds,
    transposed_convs,
    transposed_inputs,
)


@pytest.mark.parametrize("learned", [True, False])
def test_a_batch_norm_is_its_affine_map(learned):
    generator = torch.Generator().manual_seed(0)
    mean, beta = torch.randn(6, generator=generator), torch.randn(6, generator=generator)
    var = torch.tensor([0.0, 1e-45, 1e-30, 1e-3, 1.0, 1e4])
    gamma, beta = (torch.randn(6, generator=generator), beta) if learned else (None, None)
    x = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)

    folded = batch_norm_affine(gamma, beta, mean, var, 1e-5)

    wide = [None if part is None else part.double() for part in (gamma, beta)]
    expected = F.batch_norm(x, mean.double(), var.double(), *wide, False, 0.0, 1e-5)
    # A handful of roundings, relative to the two terms which may cancel.
    size = (x.abs() + mean.double().abs()[:, None]) * folded.scale.abs()[:, None] + expected.abs()
    assert ((apply(folded, x) - expected).abs() <= 8 * torch.finfo(torch.float64).eps * size + 1e-300).all()
    assert folded.scale.dtype == torch.float64


def test_a_denormal_variance_without_eps_is_not_flushed_to_zero():
    var = torch.tensor([1e-45])

    scale = batch_norm_affine(None, None, torch.zeros(1), var, 0.0).scale

    assert scale.item() == pytest.approx(var.double().item() ** -0.5, rel=1e-15)


@few
@given(st.data(), seeds)
def test_folding_an_affine_equals_applying_it_afterwards(data, seed):
    conv = data.draw(convs())
    x, after = data.draw(inputs(conv)), affine(seed, conv.out_channels)

    exactly(run(fold_affine(conv, after), x), apply(after, run(conv, x)))


@few
@given(st.data(), seeds)
def test_folding_an_affine_after_a_transposed_convolution_is_exact(data, seed):
    conv = data.draw(transposed_convs())
    x, after = data.draw(transposed_inputs(conv)), affine(seed, conv.out_channels)

    exactly(run(fold_affine(conv, after), x), apply(after, run(conv, x)))


@few
@given(st.data(), seeds, st.booleans())
def test_folding_an_affine_before_is_exact_or_refused_for_zero_padding(data, seed, shifts):
    conv = data.draw(convs())
    before = affine(seed, conv.in_channels)
    if not shifts:
        before = replace(before, shift=torch.zeros_like(before.shift))
    x = data.draw(inputs(conv))

    folded = fold_affine_before(before, conv)

    pads_zeros = conv.geometry.pads and conv.geometry.padding_mode == "zeros"
    assert isinstance(folded, Refusal) == (pads_zeros and bool(before.shift.any()))
    if isinstance(folded, ConvMap):
        exactly(run(folded, x), run(conv, apply(before, x)))
    else:
        assert folded.code == "border-differs"


@few
@given(st.data(), seeds)
def test_folding_an_affine_before_a_transposed_convolution_is_exact_where_it_is_allowed(data, seed):
    conv = data.draw(transposed_convs(ndim=1))
    before = affine(seed, conv.in_channels)

    folded = fold_affine_before(before, conv)

    if isinstance(folded, ConvMap):
        x = data.draw(transposed_inputs(conv))
        exactly(run(folded, x), run(conv, apply(before, x)))
    if not before.shift.any():
        assert isinstance(folded, ConvMap)


@pytest.mark.parametrize("crop", [0, 1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_shift_before_a_transposed_convolution_is_refused_exactly_where_outputs_differ(crop, stride, extra):
    if extra >= max(stride, 2):
        return
    geometry = Geometry((stride,), ((crop, crop),), (2,), transposed=True, output_padding=(extra,))
    conv = ConvMap(torch.tensor([[[1.0, 2.0]]], dtype=torch.float64), numbers(0, 1), geometry)
    shifted = run(conv, torch.ones(1, 1, 12, dtype=torch.float64)) - run(conv, torch.zeros(1, 1, 12).double())

    refusal = affine_before_refusal(Affine(torch.ones(1).double(), torch.ones(1).double()), geometry, (2,))

    assert (refusal is None) == bool((shifted == shifted[0, 0, 0]).all())


def test_a_shift_before_zero_padding_really_changes_the_border():
    conv = ConvMap(torch.ones(1, 1, 3).double(), torch.zeros(1).double(), Geometry((1,), ((1, 1),), (1,)))

    moved = run(conv, torch.ones(1, 1, 5).double())

    assert moved.flatten().tolist() == [2, 3, 3, 3, 2]
    refusal = fold_affine_before(Affine(torch.ones(1).double(), torch.ones(1).double()), conv)
    assert isinstance(refusal, Refusal)
    assert "padded with zeros by 1" in refusal.reason
