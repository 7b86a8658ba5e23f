"""MobileOne in training form (arXiv 2206.04040, figure 3): k-fold depthwise and pointwise branches."""

from functools import reduce
from operator import add

from torch import Tensor, nn

from bench.graphs.models.layers import Classifier, conv_norm


class MobileOneBlock(nn.Module):
    """k branches of the kernel, a 1x1 "scale" branch beside larger kernels, a batch-norm skip where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, branches: int) -> None:
        super().__init__()
        self.rbr_conv = nn.ModuleList(
            conv_norm(inputs, outputs, kernel, stride, groups=groups) for _ in range(branches)
        )
        self.rbr_scale = conv_norm(inputs, outputs, 1, stride, groups=groups) if kernel > 1 else None
        self.rbr_skip = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branches = [branch(x) for branch in (*self.rbr_conv, self.rbr_scale, self.rbr_skip) if branch is not None]
        return self.activation(reduce(add, branches))


def _separable(inputs: int, outputs: int, stride: int, branches: int) -> nn.Sequential:
    return nn.Sequential(
        MobileOneBlock(inputs, inputs, 3, stride, inputs, branches),
        MobileOneBlock(inputs, outputs, 1, 1, 1, branches),
    )


def mobileone() -> nn.Module:
    """k of 4 as in MobileOne-S0, and of 1 and 2."""
    blocks = (
        MobileOneBlock(3, 32, 3, 2, 1, 1),
        _separable(32, 48, 2, 4),
        _separable(48, 48, 1, 4),
        _separable(48, 96, 2, 2),
        _separable(96, 96, 1, 4),
        _separable(96, 160, 2, 1),
        _separable(160, 160, 1, 1),
    )
    return Classifier(nn.Sequential(*blocks), 160)
