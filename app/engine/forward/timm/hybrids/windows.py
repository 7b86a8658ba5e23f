"""Attention within windows of a map: the map is padded at its ends, cut into squares, and put together again."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def windows(x: Tensor, side: int) -> Tensor:
    """(n, c, h, w) to (n windows, c, side, side), with zeros at the lower and right end."""
    n, c = x.shape[:2]
    height, width = (-(-size // side) * side for size in x.shape[2:])
    x = F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
    cut = x.reshape(n, c, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, c, side, side)


def whole(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Windows back to a map of these sizes."""
    c, side = x.shape[1], x.shape[2]
    down, across = (-(-size // side) for size in sizes)
    put = x.reshape(-1, down, across, c, side, side).permute(0, 3, 1, 4, 2, 5)
    joined: Tensor = put.reshape(-1, c, down * side, across * side)[:, :, : sizes[0], : sizes[1]]
    return joined


def windows_of_tokens(x: Tensor, side: int) -> Tensor:
    """(n, h, w, c) to (n windows, tokens, c)"""
    return windows(x.movedim(3, 1), side).flatten(2).transpose(1, 2)


def whole_of_tokens(x: Tensor, side: int, sizes: Sequence[int]) -> Tensor:
    """As `whole`, of tokens, to (n, h, w, c)."""
    squares = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)
    return whole(squares, sizes).movedim(1, 3)
