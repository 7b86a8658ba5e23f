"""MobileOne's classes as they compute once deployed; arXiv 2206.04040."""

import torch
from torch import Tensor, nn


class MobileOneBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert self.inference_mode
        return self.activation(self.se(self.reparam_conv(x)))


class SEBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class MobileOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stage0(x)))))
        return self.linear(torch.flatten(self.gap(x), 1))


CLASSES = {"mobileone": (MobileOne, MobileOneBlock, SEBlock)}
