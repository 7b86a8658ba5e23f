"""What YOLOv7's heads do after their convolutions: raw maps to boxes, scores and key points. Functions of tensors."""

import torch
from torch import Tensor


def anchored(x: Tensor, anchors: int, outputs: int) -> Tensor:
    """(n, anchors * outputs, h, w) to (n, anchors, h, w, outputs)."""
    return torch.unflatten(x, 1, (anchors, outputs)).permute(0, 1, 3, 4, 2)


def anchored_parts(detection: Tensor, points: Tensor, anchors: int, outputs: int) -> Tensor:
    """As `anchored`, of two maps one behind the other."""
    return anchored(torch.cat((detection, points), 1), anchors, outputs)


def _cells(raw: Tensor) -> Tensor:
    """The (x, y) of each cell of (n, anchors, h, w, outputs), as (1, 1, h, w, 2)."""
    height, width = raw.shape[2:4]
    rows = torch.arange(height, device=raw.device, dtype=raw.dtype)
    columns = torch.arange(width, device=raw.device, dtype=raw.dtype)
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((across, down), -1)[None, None]


def _centres(score: Tensor, stride: Tensor) -> Tensor:
    return (score[..., 0:2] * 2.0 - 0.5 + _cells(score)) * stride


def boxes(raw: Tensor, stride: Tensor, anchor_grid: Tensor, level: int) -> Tensor:
    """Centre, size, objectness and class scores of one level, (n, anchors * h * w, outputs).

    Centres reach half a cell beyond their own; sizes are up to four times the anchor (Scaled-YOLOv4, arXiv 2011.08036).
    """
    score = torch.sigmoid(raw)
    size = (score[..., 2:4] * 2) ** 2 * anchor_grid[level]
    return torch.cat((_centres(score, stride[level]), size, score[..., 4:]), -1).flatten(1, 3)


def weighted_scores(decoded: Tensor) -> Tensor:
    """Class scores times objectness."""
    return decoded[..., 5:] * decoded[..., 4:5]


def corners(decoded: Tensor) -> Tensor:
    """Boxes as (left, top, right, bottom)."""
    centre, half_size = decoded[..., 0:2], decoded[..., 2:4] * 0.5
    return torch.cat((centre - half_size, centre + half_size), -1)


# A key-point output: 4 of box, objectness, one class, then (x, y, visibility) for each point.
DETECTION_OUTPUTS = 6


def keypoints_in_place(raw: Tensor, stride: Tensor, level: int) -> Tensor:
    """The raw map as the head leaves it: its key points are decoded in place, the detection part is not."""
    detection, points = raw[..., :DETECTION_OUTPUTS], torch.unflatten(raw[..., DETECTION_OUTPUTS:], -1, (-1, 3))
    cells = _cells(raw).unsqueeze(-2)  # (1, 1, h, w, 1, 2)
    where = (points[..., 0:2] * 2.0 - 0.5 + cells) * stride[level]
    decoded = torch.cat((where, torch.sigmoid(points[..., 2:])), -1).flatten(-2)
    return torch.cat((detection, decoded), -1)


def poses(written: Tensor, stride: Tensor, anchor_grid: Tensor, level: int) -> Tensor:
    """Boxes, scores and key points of one level from the map that `keypoints_in_place` gives."""
    score = torch.sigmoid(written[..., :DETECTION_OUTPUTS])
    size = (score[..., 2:4] * 2) ** 2 * anchor_grid[level]
    parts = (_centres(score, stride[level]), size, score[..., 4:], written[..., DETECTION_OUTPUTS:])
    return torch.cat(parts, -1).flatten(1, 3)


def binned_boxes(
    raw: Tensor,
    stride: Tensor,
    anchor_grid: Tensor,
    width_bins: Tensor,
    height_bins: Tensor,
    widths: "Bins",
    heights: "Bins",
    level: int,
) -> Tensor:
    """As `boxes`, with width and height each by the most likely bin and an offset from it."""
    score = torch.sigmoid(raw)
    middle = 2 + widths.outputs
    end = middle + heights.outputs
    sides = (widths.size(score[..., 2:middle], width_bins), heights.size(score[..., middle:end], height_bins))
    size = torch.stack(sides, -1) * anchor_grid[level]
    return torch.cat((_centres(score, stride[level]), size, score[..., end:]), -1).flatten(1, 3)


class Bins:
    """One side's bins: how an output of (offset, bin scores ...) becomes a size in anchors."""

    __slots__ = ("largest", "outputs", "reach", "smallest", "step")

    def __init__(self, outputs: int, reach: float, step: float, smallest: float, largest: float) -> None:
        self.outputs, self.reach, self.step = outputs, reach, step
        self.smallest, self.largest = smallest, largest

    def size(self, score: Tensor, bins: Tensor) -> Tensor:
        """score (..., 1 + bins) to (...,): the likeliest bin's centre, moved by the offset, within the limits."""
        offset = (score[..., 0] * self.reach - self.reach / 2.0) * self.step
        return (bins[score[..., 1:].argmax(-1)] + offset).clamp(self.smallest, self.largest)
