"""The Asymmetric Convolution Block as it computes once deployed; arXiv 1908.03930."""

from torch import Tensor, nn


class ACBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert self.deploy
        return self.fused_conv(x)


CLASSES = {"acb": (ACBlock,)}
