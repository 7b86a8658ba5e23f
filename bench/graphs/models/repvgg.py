"""RepVGG in training form (arXiv 2101.03697, figure 4): dense, pointwise and identity branches, each with a norm."""

from torch import Tensor, nn

from bench.graphs.models.layers import Classifier, conv_norm


class RepVGGBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.rbr_dense = conv_norm(inputs, outputs, 3, stride, groups=groups)
        self.rbr_1x1 = conv_norm(inputs, outputs, 1, stride, groups=groups)
        self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        self.nonlinearity = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branches = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            branches = branches + self.rbr_identity(x)
        return self.nonlinearity(branches)


def repvgg() -> nn.Module:
    """Four widths; grouped blocks as in RepVGG-B1g4."""
    blocks = (
        RepVGGBlock(3, 32, stride=2),
        RepVGGBlock(32, 48, stride=2),
        RepVGGBlock(48, 48),
        RepVGGBlock(48, 48, groups=4),
        RepVGGBlock(48, 96, stride=2, groups=2),
        RepVGGBlock(96, 96),
        RepVGGBlock(96, 96, groups=4),
        RepVGGBlock(96, 160, stride=2),
        RepVGGBlock(160, 160),
    )
    return Classifier(nn.Sequential(*blocks), 160)
