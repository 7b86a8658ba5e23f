"""RepVGG's classes as they compute once deployed; arXiv 2101.03697."""

import torch
from torch import Tensor, nn


class RepVGGBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.se(self.rbr_reparam(x)))


class SEBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mean = x[:, :, : x.shape[3]].mean((2, 3), keepdim=True)
        return x * self.up(self.down(mean).relu()).sigmoid()


class RepVGG(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stage0(x)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            for block in stage:
                x = block(x)
        return self.linear(torch.flatten(self.gap(x), 1))


CLASSES = {"repvgg": (RepVGG, RepVGGBlock), "se_block": (SEBlock,)}
