"""Diverse Branch Block in training form (arXiv 2103.13425, figure 2 and section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.graphs.models.layers import Classifier, conv_norm


class IdentityConv1x1(nn.Module):
    """A 1x1 convolution whose kernel is the stored one plus the identity (section 4.1)."""

    def __init__(self, channels: int, groups: int, padding: int) -> None:
        super().__init__()
        self.groups, self.padding = groups, padding
        self.weight = nn.Parameter(torch.randn(channels, channels // groups, 1, 1) / channels)
        eye = torch.eye(channels // groups).repeat(groups, 1)
        self.register_buffer("identity", eye[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight + self.identity, padding=self.padding, groups=self.groups)


class DiverseBranchBlock(nn.Module):
    """K x K, 1x1, 1x1 then K x K, and 1x1 then average.

    The inner 1x1 convolutions pad, so that the border of what follows them is their batch norm of zero: the condition
    of the paper's transform III.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        pad = kernel // 2
        self.dbb_origin = conv_norm(inputs, outputs, kernel, stride, groups=groups)
        self.dbb_1x1 = conv_norm(inputs, outputs, 1, stride, groups=groups)
        self.dbb_1x1_kxk = nn.Sequential(
            IdentityConv1x1(inputs, groups, pad),
            nn.BatchNorm2d(inputs),
            conv_norm(inputs, outputs, kernel, stride, padding=0, groups=groups),
        )
        self.dbb_avg = nn.Sequential(
            conv_norm(inputs, outputs, 1, padding=pad, groups=groups),
            nn.AvgPool2d(kernel, stride),
            nn.BatchNorm2d(outputs),
        )
        self.nonlinear = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x))


def dbb() -> nn.Module:
    blocks = (
        DiverseBranchBlock(3, 32, stride=2),
        DiverseBranchBlock(32, 48, stride=2),
        DiverseBranchBlock(48, 48, groups=4),
        DiverseBranchBlock(48, 96, stride=2, groups=2),
        DiverseBranchBlock(96, 96, kernel=5, groups=96),
        DiverseBranchBlock(96, 128, stride=2),
        DiverseBranchBlock(128, 128),
    )
    return Classifier(nn.Sequential(*blocks), 128)
