"""OREPA's classes as they compute once deployed; arXiv 2204.00826."""

from torch import Tensor, nn


class OREPA(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.orepa_reparam(x))


class OREPA_1x1(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.or1x1_reparam(x))


class OREPA_LargeConv(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.or_large_reparam(x))


class OREPA_LargeConvBase(OREPA_LargeConv):
    pass


class DBB(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.dbb_reparam(x))


class RepVGGBlock_OREPA(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.se(self.rbr_reparam(x)))


class ConvBN(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert not hasattr(self, "bn")
        return self.nonlinear(self.conv(x))


CLASSES = {
    "blocks": (OREPA, OREPA_1x1, OREPA_LargeConv, OREPA_LargeConvBase, DBB),
    "blocks_repvgg": (RepVGGBlock_OREPA,),
    "basic": (ConvBN,),
}
