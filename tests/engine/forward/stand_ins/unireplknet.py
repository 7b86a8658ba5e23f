"""UniRepLKNet's classes as they compute once deployed; arXiv 2311.15599."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NCHWtoNHWC(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1)


class NHWCtoNCHW(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1)


class LayerNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert self.data_format == "channels_first"
        return F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)


class GRNwithNHWC(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert not self.use_bias
        energy = x.square().sum((1, 2), keepdim=True).sqrt()
        return x + x * self.gamma * energy / (energy.mean(-1, keepdim=True) + 1e-6)


class SEBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.nonlinear(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()


class DilatedReparamBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.lk_origin(x)


class UniRepLKNetBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert self.gamma is None
        y = self.pwconv1(self.se(self.norm(self.dwconv(x))))
        return x + self.drop_path(self.pwconv2(self.act(y)))


class UniRepLKNet(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.head(self.norm(torch.mean(x, (2, 3))))


CLASSES = {
    "unireplknet": (
        *(UniRepLKNet, UniRepLKNetBlock, DilatedReparamBlock, SEBlock),
        *(GRNwithNHWC, LayerNorm, NCHWtoNHWC, NHWCtoNCHW),
    )
}
