"""The Diverse Branch Block as it computes once deployed; arXiv 2103.13425."""

from torch import Tensor, nn


class DiverseBranchBlock(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.dbb_reparam(x))


CLASSES = {"diversebranchblock": (DiverseBranchBlock,)}
