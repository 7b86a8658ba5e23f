"""What anchor-free heads do after their convolutions: distances from cell centres to boxes. Functions of tensors."""

import math

import torch
from torch import Tensor

Sizes = tuple[tuple[int, int], ...]  # (height, width) of each level's map


def bins_of(x: Tensor, count: int) -> Tensor:
    """(n, 4 * count, cells) to probabilities of (n, count, 4, cells); generalised focal loss, arXiv 2006.04388."""
    return torch.unflatten(x, 1, (4, count)).transpose(1, 2).softmax(1)


def centres(sizes: Sizes, like: Tensor) -> Tensor:
    """(2, cells): the (x, y) of every cell's centre in cells, the finest level first."""
    parts = []
    for height, width in sizes:
        rows = torch.arange(height, device=like.device, dtype=like.dtype) + 0.5
        columns = torch.arange(width, device=like.device, dtype=like.dtype) + 0.5
        down, across = torch.meshgrid(rows, columns, indexing="ij")
        parts.append(torch.stack((across, down)).flatten(1))
    return torch.cat(parts, 1)


def cell_strides(stride: Tensor, sizes: Sizes) -> Tensor:
    """(cells,): the stride of every cell's level."""
    parts = [stride[level].expand(height * width) for level, (height, width) in enumerate(sizes)]
    return torch.cat(parts)


def boxes(distances: Tensor, scores: Tensor, stride: Tensor, sizes: Sizes, corners: bool) -> Tensor:
    """(n, 4 + classes, cells): boxes by their corners, or by centre and size, and class scores; arXiv 1904.01355."""
    middle = centres(sizes, distances)
    low, high = middle - distances[:, :2], middle + distances[:, 2:]
    box = torch.cat((low, high), 1) if corners else torch.cat(((low + high) / 2, high - low), 1)
    return torch.cat((box * cell_strides(stride, sizes).to(box.dtype), torch.sigmoid(scores)), 1)


def turned_boxes(distances: Tensor, scores: Tensor, turn: Tensor, stride: Tensor, sizes: Sizes) -> Tensor:
    """As `boxes`, by centre and size, where distances are along the sides of a box turned by an angle (n, 1, cells)."""
    low, high = distances[:, :2], distances[:, 2:]
    across, down = ((high - low) / 2).unbind(1)
    cos, sin = torch.cos(turn[:, 0]), torch.sin(turn[:, 0])
    middle = torch.stack((across * cos - down * sin, across * sin + down * cos), 1) + centres(sizes, distances)
    box = torch.cat((middle, low + high), 1)
    return torch.cat((box * cell_strides(stride, sizes).to(box.dtype), torch.sigmoid(scores), turn), 1)


def angle(raw: Tensor) -> Tensor:
    """From a quarter turn back to three quarters on."""
    return (torch.sigmoid(raw) - 0.25) * math.pi


def key_points(raw: Tensor, stride: Tensor, sizes: Sizes, dims: int) -> Tensor:
    """(n, points * dims, cells): positions in pixels, and visibility where `dims` is 3."""
    points = torch.unflatten(raw, 1, (-1, dims))
    where = (points[:, :, :2] * 2.0 + (centres(sizes, raw) - 0.5)) * cell_strides(stride, sizes).to(raw.dtype)
    return torch.cat((where, torch.sigmoid(points[:, :, 2:])), 2).flatten(1, 2)
