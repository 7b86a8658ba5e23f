"""A U-Net (arXiv 1505.04597) that goes up by transposed convolutions with batch norm."""

import torch
from torch import Tensor, nn

from bench.graphs.models.layers import conv_norm


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_norm(inputs, outputs, 3), nn.ReLU(), conv_norm(outputs, outputs, 3), nn.ReLU())


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        padding, extra = (kernel - 1) // 2, kernel % 2
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding, extra, groups, bias=kernel == 2)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU()
        self.convs = _double(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.convs(torch.cat((skip, self.activation(self.norm(self.up(x)))), 1))


class UNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(i, o) for i, o in zip((3, *widths), widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        kernels, groups = (2, 3, 4), (1, 4, 2)
        steps = zip(widths[::-1], widths[-2::-1], kernels, groups, strict=False)
        self.up = nn.ModuleList(Up(i, o, kernel, group) for i, o, kernel, group in steps)
        self.head = nn.Conv2d(widths[0], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, convs in enumerate(self.down):
            x = convs(self.pool(x) if i else x)
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = up(x, skip)
        return self.head(x)


def unet() -> nn.Module:
    return UNet()
