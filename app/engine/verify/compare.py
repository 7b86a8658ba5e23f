"""How far two results lie apart: per output and per channel, and never fooled by NaN."""

from collections.abc import Iterator
from math import inf
from typing import Any

import torch
from torch import Tensor

# A channel that is this much smaller than its whole output is measured against the output: its digits are the
# cancellation of larger terms, and float64 itself has no more of them.
_FLOOR = 1e-5


def tensors(nest: Any) -> Iterator[Tensor]:
    """The tensors in a nest of tuples, lists and dicts, in order."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, dict):
        for part in nest.values():
            yield from tensors(part)
    elif isinstance(nest, (list, tuple)):
        for part in nest:
            yield from tensors(part)


def relative_error(result: Any, reference: Any) -> float:
    """The largest error of any output and channel, relative to the largest value of that channel in `reference`.

    Both are nests of tensors. Channels are taken along dimension 1 and along the last one, the worse counts. Infinite
    where shapes differ, or where one has NaN or an infinity that the other has not.
    """
    got, wanted = list(tensors(result)), list(tensors(reference))
    if len(got) != len(wanted):
        return inf
    return max((_relative(a, b) for a, b in zip(got, wanted, strict=True)), default=0.0)


def silent(nest: Any) -> bool:
    """True if some tensor of the nest has no finite number at all, so that a comparison would show nothing."""
    return any(part.numel() > 0 and not bool(torch.isfinite(part).any()) for part in tensors(nest))


def absolute_error(result: Any, reference: Any) -> float:
    """The largest absolute error of any output; infinite as in `relative_error`."""
    got, wanted = list(tensors(result)), list(tensors(reference))
    if len(got) != len(wanted):
        return inf
    errors = [_difference(a, b) for a, b in zip(got, wanted, strict=True)]
    return max((inf if e is None else _largest(e) for e in errors), default=0.0)


def _relative(result: Tensor, reference: Tensor) -> float:
    error = _difference(result, reference)
    if error is None:
        return inf
    if error.numel() == 0:
        return 0.0
    size = torch.where(torch.isfinite(reference), reference, 0).to(torch.float64).abs()
    overall = float(size.max())
    if overall == 0.0:
        return 0.0 if float(error.max()) == 0.0 else inf
    worst = 0.0
    for axis in {min(1, error.ndim - 1), error.ndim - 1} if error.ndim else {0}:
        floor = _FLOOR * overall
        ratio = _per_channel(error, axis) / _per_channel(size, axis).clamp_min(floor)
        worst = max(worst, _largest(ratio))
    return worst


def _per_channel(tensor: Tensor, axis: int) -> Tensor:
    if tensor.ndim < 2:
        return tensor.reshape(-1)
    return tensor.movedim(axis, 0).flatten(1).amax(1)


def _difference(result: Tensor, reference: Tensor) -> Tensor | None:
    """|result - reference| in float64, zero where both have the same infinity or NaN; None where they can't match."""
    if result.shape != reference.shape:
        return None
    a, b = result.to(torch.float64), reference.to(device=result.device, dtype=torch.float64)
    odd = ~(torch.isfinite(a) & torch.isfinite(b))
    if bool(odd.any()):
        same = (a == b) | (torch.isnan(a) & torch.isnan(b))
        if not bool(same[odd].all()):
            return None
        a, b = torch.where(odd, 0, a), torch.where(odd, 0, b)
    return (a - b).abs()


def _largest(error: Tensor) -> float:
    """The largest number; a NaN counts as infinite."""
    return float(torch.where(error.isnan(), inf, error).max()) if error.numel() else 0.0
