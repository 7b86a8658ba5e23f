"""Sums of branches that are not added yet: their weights stay as they are stored until they are rounded together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.engine.algebra.branches import taps_in
from app.engine.algebra.convmap import Affine, Plan, Refusal
from app.engine.algebra.lift import identity_plan
from app.engine.algebra.rounding import BLOCK_BYTES, Rounded, finite, harmless, representable, round_into, round_once


@dataclass(frozen=True, slots=True)
class Branch:
    """gain * weight, one summand of a kernel. Without a weight it is the identity, whatever its groups."""

    weight: Tensor | None  # as ConvMap.weight, not transposed, in any float dtype
    gain: Tensor  # (out,) float64
    plan: Plan


@dataclass(frozen=True, slots=True)
class Sum:
    """Branches of the same groups that read one value, and the bias of all."""

    branches: tuple[Branch, ...]
    bias: Tensor  # (out,) float64

    def then(self, affine: Affine) -> "Sum":
        """affine(self(x))."""
        branches = tuple(replace(branch, gain=branch.gain * affine.scale) for branch in self.branches)
        return Sum(branches, self.bias * affine.scale + affine.shift)


def identity_sum(channels: int, ndim: int) -> Sum:
    """y = x."""
    gain = torch.ones(channels, dtype=torch.float64)
    return Sum((Branch(None, gain, identity_plan(channels, ndim)),), torch.zeros_like(gain))


def joined(sums: Sequence[Sum]) -> Sum:
    """The sum of sums."""
    branches = tuple(branch for one in sums for branch in one.branches)
    return Sum(branches, torch.stack([one.bias for one in sums]).sum(0))


def round_sum(total: Sum, plan: Plan, dtype: torch.dtype) -> Rounded | Refusal:
    """The convolution that the branches are together, computed in float64 and rounded once.

    A few output channels at a time, so that what is in float64 stays in cache. `plan` is the branches' `merge_plan`.
    """
    weight = torch.empty(plan.weight_shape, dtype=dtype)
    refusal = _filled(weight, total.branches, plan)
    bias = round_once(total.bias, dtype)
    return refusal or representable(total.bias, bias) or Rounded(weight, bias)


def _filled(weight: Tensor, branches: Sequence[Branch], plan: Plan) -> Refusal | None:
    places = [(slice(None), slice(None), *taps_in(plan.geometry, branch.plan)) for branch in branches]
    safe = all(harmless(branch.gain, weight.dtype) for branch in branches)
    for exact, rows in _blocks(plan):
        exact.zero_()
        for branch, taps in zip(branches, places, strict=True):
            _add(exact[taps], branch, rows)
        target = weight[rows]
        round_into(target, exact)
        refusal = finite(exact, target) if safe else representable(exact, target)
        if refusal is not None:
            return refusal
    return None


def _blocks(plan: Plan) -> Iterator[tuple[Tensor, slice]]:
    """Scratch for some output channels, and which; the same memory each time."""
    out, *row = plan.weight_shape
    scratch = torch.empty(row, dtype=torch.float64)
    height = min(out, max(1, BLOCK_BYTES // scratch.nbytes))
    scratch = torch.empty(height, *row, dtype=torch.float64)
    for start in range(0, out, height):
        stop = min(out, start + height)
        yield scratch[: stop - start], slice(start, stop)


def _add(exact: Tensor, branch: Branch, rows: slice) -> None:
    """Some output channels of a branch, onto its taps."""
    gain = branch.gain[rows]
    if branch.weight is not None:
        exact.addcmul_(branch.weight[rows].to(torch.float64), gain.reshape(-1, *(1,) * (exact.ndim - 1)))
        return
    channels = torch.arange(rows.start, rows.stop)  # each reads itself, the first of its group being number 0
    exact.flatten(1)[channels - rows.start, channels % exact.shape[1]] += gain
