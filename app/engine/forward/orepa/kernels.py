"""The kernels that OREPA makes of its branches: tensors in, a tensor out; arXiv 2204.00826, section 3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pointwise_kernel(
    origin: Tensor,  # (out, in, 1, 1)
    first: Tensor,  # (middle, in, 1, 1)
    second: Tensor,  # (out, middle, 1, 1)
    strengths: Tensor,  # (2, out), a factor per branch and channel
) -> Tensor:
    """A 1x1 kernel beside the product of two."""
    sequence = torch.einsum("ti,ot->oi", first.flatten(1), second.flatten(1))
    return weighted(strengths, (origin, sequence.reshape(origin.shape)))


def weighted(strengths: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """The sum of the branches' kernels, each output channel scaled by its factor in that branch."""
    total = torch.zeros_like(kernels[0])
    for strength, kernel in zip(strengths, kernels, strict=False):
        total = total + strength.reshape(-1, 1, 1, 1) * kernel
    return total


def averaged(pointwise: Tensor, window: Tensor) -> Tensor:
    """A 1x1 (out, in, 1, 1) before an average pool (k, k)."""
    return pointwise * window


def filtered(pointwise: Tensor, prior: Tensor) -> Tensor:
    """A 1x1 (out, in, 1, 1) before a fixed frequency filter per output channel (out, k, k)."""
    return pointwise * prior.unsqueeze(1)


def sequential(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """A 1x1 (middle, in / groups, 1, 1) before a kxk (out, middle / groups, k, k), group by group."""
    inner = torch.unflatten(first.flatten(1), 0, (groups, -1))
    outer = torch.unflatten(second, 0, (groups, -1))
    return torch.einsum("gti,gothw->goihw", inner, outer).flatten(0, 1)


def separable(depthwise: Tensor, pointwise: Tensor, channels: int, groups: int) -> Tensor:
    """A depthwise kernel (channels * ratio, 1, k, k) before a 1x1 (out, channels * ratio / groups, 1, 1).

    The published code deals the rows of the 1x1 out to the groups one by one, and gathers the result group by group.
    """
    expanded = torch.unflatten(torch.unflatten(depthwise.squeeze(1), 0, (channels, -1)), 0, (groups, -1))  # c g t h w
    gathered = torch.unflatten(torch.unflatten(pointwise.flatten(1), 1, (channels // groups, -1)), 0, (-1, groups))
    return torch.einsum("cgthw,ocgt->coghw", expanded, gathered).flatten(0, 1)


def centred(pointwise: Tensor, size: int) -> Tensor:
    """A 1x1 in the middle of a size x size kernel."""
    return F.pad(pointwise, [size // 2] * 4)


def grown(kernels: Sequence[Tensor], groups: int) -> Tensor:
    """A large kernel from 3x3 ones, each of which widens what the ones before it gave by one tap on every side."""
    total = kernels[0].transpose(0, 1)
    for kernel in kernels[1:]:
        total = F.conv2d(total, kernel, groups=groups, padding=2)
    return total.transpose(0, 1)
