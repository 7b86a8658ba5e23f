"""The one rounding at the end: from float64 to the dtype of the file, and what that may lose."""

from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.algebra.convmap import ConvMap, Refusal

BLOCK_BYTES = 256 * 1024  # of float64: scratch and operands stay in a core's second-level cache
_NOTHING = 1e-26
_MOST = 0.5  # share of the non-zero weights above which vanishing is refused

# float64 reaches half precision by way of float32; these 29 bits of the mantissa are what that first step drops.
_DROPPED = (1 << 29) - 1


class Rounded(NamedTuple):
    """A convolution's numbers as they are stored; the geometry stays with the map."""

    weight: Tensor  # as ConvMap.weight
    bias: Tensor  # (out,)


def round_weight(weight: Tensor, gain: Tensor, dtype: torch.dtype, transposed: bool = False, groups: int = 1) -> Tensor:
    """gain * weight for each output channel, computed in float64 and rounded once (to nearest, ties to even).

    `weight` has any float dtype and keeps its memory format; `gain` is float64 (out,). Goes through the weight in
    blocks of rows that stay in cache: half the time of a whole float64 copy, and no memory beside the result.
    """
    gains = _gain_rows(weight, gain, transposed, groups)
    result = torch.empty_like(weight, dtype=dtype)
    per_row = max(1, weight[0].numel()) * torch.float64.itemsize
    rows = min(weight.shape[0], max(1, BLOCK_BYTES // per_row))
    scratch = torch.empty_like(weight[:rows], dtype=torch.float64)
    # Half to float32 to float64 is exact, and twice as fast as half to float64.
    staged = torch.empty_like(scratch, dtype=torch.float32) if weight.dtype == torch.float16 else None
    flags = torch.empty_like(scratch, dtype=torch.int64) if dtype.itemsize < 4 else None
    for source, target, factor in zip(*(torch.split(whole, rows) for whole in (weight, result, gains)), strict=True):
        height = source.shape[0]
        block = scratch[:height]
        block.copy_(source if staged is None else staged[:height].copy_(source))
        block.mul_(factor)
        round_into(target, block, flags)
    return result


def _gain_rows(weight: Tensor, gain: Tensor, transposed: bool, groups: int) -> Tensor:
    """The gain with as many rows as the weight, to broadcast over everything else."""
    ones = (1,) * (weight.ndim - 2)
    if not transposed:
        return gain.reshape(-1, 1, *ones)
    into = weight.shape[0]
    return gain.reshape(groups, 1, -1).expand(-1, into // groups, -1).reshape(into, -1, *ones)


def _round_to_odd(values: Tensor, flags: Tensor) -> None:
    """Cuts float64 to 24 bits, leaving the last one set if anything was cut, in place.

    The next rounding to 22 bits or fewer is then correct, as if it were the only one (Boldo and Melquiond 2008).
    """
    bits = values.view(torch.int64)
    torch.bitwise_and(bits, _DROPPED, out=flags)
    flags.add_(_DROPPED)  # carries into bit 29 if any of the lower bits is set
    bits.bitwise_or_(flags).bitwise_and_(~_DROPPED)


def round_into(target: Tensor, values: Tensor, flags: Tensor | None = None) -> None:
    """As `round_once`, into memory that is there; the values are overwritten. `flags` is scratch for half precision."""
    if target.dtype.itemsize < 4:
        _round_to_odd(values, torch.empty_like(values, dtype=torch.int64) if flags is None else flags[: len(values)])
    target.copy_(values)


def round_once(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 values to nearest in `dtype`, ties to even, with no second rounding on the way to half precision."""
    if dtype.itemsize >= 4:
        return values.to(dtype, copy=True)
    rounded = torch.empty_like(values, dtype=dtype)
    round_into(rounded, values.clone())
    return rounded


def round_map(conv: ConvMap, dtype: torch.dtype) -> Rounded:
    """Weight and bias in the dtype of the file, each number rounded once."""
    return Rounded(round_once(conv.weight, dtype), round_once(conv.bias, dtype))


def representable(
    values: Tensor,
    rounded: Tensor,
    *,
    gain: Tensor | None = None,
    transposed: bool = False,
    groups: int = 1,
) -> Refusal | None:
    """Why `rounded` can't stand for `values`: infinite numbers, or a channel or most weights become zero.

    `values` are the exact ones in float64, or the weight that `round_weight` was given, together with its `gain`
    (a gain of exactly zero is meant). A bias, of one dimension, is looked at for infinity only: a small bias becomes
    zero without harm.
    """
    refusal = finite(values, rounded, gain=gain, transposed=transposed, groups=groups)
    if refusal is not None:
        return refusal
    if rounded.ndim < 2 or (gain is not None and harmless(gain, rounded.dtype)):
        return None
    kept = int(rounded.count_nonzero())
    if kept == rounded.numel() or kept == int(values.count_nonzero()):
        return None
    return _underflow(values, rounded, gain, transposed, groups)


def finite(
    values: Tensor,
    rounded: Tensor,
    *,
    gain: Tensor | None = None,
    transposed: bool = False,
    groups: int = 1,
) -> Refusal | None:
    """Why `rounded` holds numbers that are not finite, or None if it holds none; the rest as for `representable`."""
    # A finite sum has finite parts, and adding is the quickest pass there is; a sum may overflow by itself.
    if bool(rounded.sum().isfinite()) or bool(rounded.isfinite().all()):
        return None
    return _overflow(values, rounded, gain, transposed, groups)


def harmless(gain: Tensor, dtype: torch.dtype) -> bool:
    """True if only weights that are nothing beside any other (below 1e-26) can vanish: counting takes a pass."""
    alive = gain[gain != 0].abs()
    return alive.numel() > 0 and _smallest(dtype) / float(alive.min()) < _NOTHING


def _overflow(values: Tensor, rounded: Tensor, gain: Tensor | None, transposed: bool, groups: int) -> Refusal:
    exact = values.to(torch.float64)
    if gain is not None:
        exact = exact * _gain_rows(values, gain, transposed, groups)
    finite = exact.isfinite()
    if not finite.all():
        count = int((~finite).sum())
        return Refusal("not-finite", f"{count:,} of {exact.numel():,} values are infinite or not a number")
    count, largest = int((~rounded.isfinite()).sum()), float(exact.abs().max())
    return Refusal(
        "overflow",
        f"{count:,} of {exact.numel():,} values overflow {_name(rounded.dtype)}: the largest is {largest:.4g}, "
        f"the limit {torch.finfo(rounded.dtype).max:.4g}",
    )


def _underflow(values: Tensor, rounded: Tensor, gain: Tensor | None, transposed: bool, groups: int) -> Refusal | None:
    meant = values != 0
    if gain is not None:
        meant &= _gain_rows(values, gain, transposed, groups) != 0
    kept = _by_channel(rounded != 0, transposed, groups).sum(1)
    wanted = _by_channel(meant, transposed, groups).sum(1)
    lost = int((wanted - kept).clamp(min=0).sum())
    silent = int(((kept == 0) & (wanted > 0)).sum())
    total = int(wanted.sum())
    if not silent and lost <= _MOST * total:
        return None
    return Refusal(
        "underflow",
        f"{lost:,} of {total:,} weights vanish in {_name(rounded.dtype)} and {silent:,} of {len(kept):,} channels "
        f"become zero: the smallest number it holds is {_smallest(rounded.dtype):.4g}",
    )


def _by_channel(mask: Tensor, transposed: bool, groups: int) -> Tensor:
    """The mask as (out, everything else)."""
    if not transposed:
        return mask.flatten(1)
    return torch.unflatten(mask, 0, (groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)


def _smallest(dtype: torch.dtype) -> float:
    finfo = torch.finfo(dtype)
    return finfo.tiny * finfo.eps


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
