"""OREPA in training form (arXiv 2204.00826, figure 4): branches summed in the weights, one convolution, a norm."""

import math
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.graphs.models.layers import Classifier


class OREPA(nn.Module):
    """K x K, 1x1 then average, frequency prior, 1x1 then K x K, depthwise-separable; each scaled (equation 4)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = stride, kernel // 2, groups
        into = inputs // groups
        scale = 1 / math.sqrt(into)
        self.weight_origin = nn.Parameter(scale / kernel * torch.randn(outputs, into, kernel, kernel))
        self.weight_avg_conv = nn.Parameter(scale * torch.randn(outputs, into))
        self.weight_pfir_conv = nn.Parameter(scale * torch.randn(outputs, into))
        self.weight_1x1_kxk_idconv1 = nn.Parameter(0.1 * scale * torch.randn(groups, into, into))
        self.weight_1x1_kxk_conv2 = nn.Parameter(scale / kernel * torch.randn(outputs, into, kernel, kernel))
        self.weight_dws_conv1 = nn.Parameter(torch.randn(8 * into, kernel, kernel) / kernel)
        self.weight_dws_conv2 = nn.Parameter(scale / 3 * torch.randn(outputs, 8 * into))
        self.vector = nn.Parameter(torch.rand(5, outputs) + 0.2)
        self.register_buffer("id_tensor", torch.eye(into))
        self.register_buffer("prior", _frequency_prior(outputs, kernel))
        self.norm = nn.BatchNorm2d(outputs)
        self.nonlinear = nn.ReLU()

    def weight_gen(self) -> Tensor:
        kernel = self.weight_origin.shape[-1]
        average = (self.weight_avg_conv / kernel**2)[:, :, None, None]
        prior = torch.einsum("oi,ohw->oihw", self.weight_pfir_conv, self.prior)
        first = self.weight_1x1_kxk_idconv1 + self.id_tensor
        second = self.weight_1x1_kxk_conv2.unflatten(0, (self.groups, -1))
        chained = torch.einsum("gti,gothw->goihw", first, second).flatten(0, 1)
        depth = self.weight_dws_conv1.unflatten(0, (-1, 8))
        separable = torch.einsum("imhw,oim->oihw", depth, self.weight_dws_conv2.unflatten(1, (-1, 8)))
        branches = (self.weight_origin, average, prior, chained, separable)
        scaled = [branch * scale[:, None, None, None] for branch, scale in zip(branches, self.vector, strict=True)]
        return reduce(add, scaled)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight_gen(), stride=self.stride, padding=self.padding, groups=self.groups)
        return self.nonlinear(self.norm(y))


def _frequency_prior(outputs: int, kernel: int) -> Tensor:
    """Cosines of rising frequency along the height for one half of the channels, along the width for the other."""
    half = outputs // 2
    steps = (torch.arange(kernel) + 0.5)[None, :]
    waves = torch.cos(math.pi * steps * (torch.arange(half)[:, None] + 1) / max(half, kernel))
    rows = waves[:, :, None].expand(half, kernel, kernel)
    return torch.cat((rows, rows.transpose(1, 2)))


def orepa() -> nn.Module:
    blocks = (
        OREPA(3, 32, stride=2),
        OREPA(32, 48, stride=2),
        OREPA(48, 48, groups=4),
        OREPA(48, 96, kernel=5, stride=2, groups=2),
        OREPA(96, 96),
        OREPA(96, 160, stride=2),
        OREPA(160, 160),
    )
    return Classifier(nn.Sequential(*blocks), 160)
