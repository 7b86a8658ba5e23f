"""RepLKNet's classes as they compute once deployed; arXiv 2203.06717."""

import torch
from torch import Tensor, nn


class ReparamLargeKernelConv(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.lkb_reparam(x)


class RepLKBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = self.large_kernel(self.pw1(self.prelkb_bn(x)))
        return x + self.drop_path(self.pw2(self.lk_nonlinear(y)))


class ConvFFN(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.pw2(self.nonlinear(self.pw1(self.preffn_bn(x)))))


class RepLKNetStage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class RepLKNet(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.stem:
            x = layer(x)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index < len(self.transitions):
                x = self.transitions[index](x)
        return self.head(torch.flatten(self.avgpool(self.norm(x)), 1))


CLASSES = {"replknet": (RepLKNet, RepLKNetStage, RepLKBlock, ConvFFN, ReparamLargeKernelConv)}
