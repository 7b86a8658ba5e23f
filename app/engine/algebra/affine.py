"""Affine maps beside a convolution: batch norm, scale, shift, LayerScale, implicit add and multiply."""

import torch
from torch import Tensor

from app.engine.algebra.convmap import Affine, ConvMap, Geometry, Refusal, from_grouped_rows, grouped_rows


def batch_norm_affine(weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float) -> Affine:
    """gamma * (x - mean) / sqrt(var + eps) + beta as scale and shift (arXiv 1502.03167, algorithm 2).

    Widened before eps is added: a zero or denormal variance keeps its eps. eps of 0 with a variance of 0 gives an
    infinite scale, as running the norm does.
    """
    gamma = torch.ones_like(var, dtype=torch.float64) if weight is None else weight.to(torch.float64)
    scale = gamma / (var.to(torch.float64) + eps).sqrt()
    shift = -mean.to(torch.float64) * scale
    if bias is not None:
        shift = shift + bias.to(torch.float64)
    return Affine(scale, shift)


def fold_affine(conv: ConvMap, affine: Affine) -> ConvMap:
    """affine(conv(x)) as one convolution; always exact, for any groups and transposed as well."""
    rows = grouped_rows(conv)
    scale = affine.scale.reshape(rows.shape[0], -1, *(1,) * (rows.ndim - 2))
    return from_grouped_rows(rows * scale, conv.bias * affine.scale + affine.shift, conv.geometry)


def fold_affine_before(affine: Affine, conv: ConvMap) -> ConvMap | Refusal:
    """conv(affine(x)) as one convolution; refused where the border, padded after the shift, would see another one."""
    refusal = affine_before_refusal(affine, conv.geometry, conv.kernel)
    if refusal is not None:
        return refusal
    rows = grouped_rows(conv)
    groups = rows.shape[0]
    scale = affine.scale.reshape(groups, 1, -1, *(1,) * (rows.ndim - 3))
    return from_grouped_rows(rows * scale, shifted_bias(conv, affine.shift), conv.geometry)


def affine_before_refusal(affine: Affine, geometry: Geometry, kernel: tuple[int, ...]) -> Refusal | None:
    """Why an affine map before a convolution of this geometry can't be folded into it, or None if it can."""
    return shift_before_refusal(kernel, geometry, not bool(affine.shift.any()))


def shifted_bias(conv: ConvMap, shift: Tensor) -> Tensor:
    """The bias of conv(x + shift), where every output position reads every tap."""
    rows = grouped_rows(conv)
    moved: Tensor = rows.reshape(*rows.shape[:3], -1).sum(-1) @ shift.reshape(rows.shape[0], -1, 1)
    return conv.bias + moved.flatten()


def shift_before_refusal(kernel: tuple[int, ...], geometry: Geometry, shift_zero: bool) -> Refusal | None:
    """Why a constant added to the input is not a constant added to the output, or None if it is.

    It is one if each output position reads every tap at a position which the shift reached.
    """
    if shift_zero:
        return None
    if geometry.transposed:
        return _transposed_shift_refusal(kernel, geometry)
    if geometry.pads and geometry.padding_mode == "zeros":
        return Refusal(
            "border-differs",
            f"the input is shifted before it is padded with zeros by {_sides(geometry)}: "
            "at the border the shift is missing, which one bias can't express",
        )
    return None


def _transposed_shift_refusal(kernel: tuple[int, ...], geometry: Geometry) -> Refusal | None:
    """Exact if every tap reaches every output: stride 1, and the partly covered rim cropped away.

    With a larger stride each phase of the output sees other taps, and so another constant.
    """
    crops = zip(geometry.reach(kernel), geometry.padding, geometry.output_padding, strict=True)
    covered = all(begin >= reach and end - extra >= reach for reach, (begin, end), extra in crops)
    if covered and all(step == 1 for step in geometry.stride):
        return None
    return Refusal(
        "border-differs",
        f"the input of a transposed convolution with kernel {kernel}, stride {geometry.stride} and padding "
        f"{_sides(geometry)} is shifted: not every output position receives every tap, so one bias can't express it",
    )


def _sides(geometry: Geometry) -> str:
    return " x ".join(str(begin) if begin == end else f"({begin}, {end})" for begin, end in geometry.padding)
