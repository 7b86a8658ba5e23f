"""ACNet in training form (arXiv 1908.03930, figure 2): a square kernel beside a horizontal and a vertical one."""

from torch import Tensor, nn

from bench.graphs.models.layers import Classifier, conv_norm


class ACBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.square = conv_norm(inputs, outputs, kernel, stride, groups=groups)
        self.vertical = conv_norm(inputs, outputs, (kernel, 1), stride, groups=groups)
        self.horizontal = conv_norm(inputs, outputs, (1, kernel), stride, groups=groups)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.square(x) + (self.vertical(x) + self.horizontal(x)))


def acnet() -> nn.Module:
    blocks = (
        ACBlock(3, 32, kernel=5, stride=2),
        ACBlock(32, 48, stride=2),
        ACBlock(48, 48, groups=4),
        nn.MaxPool2d(2),
        ACBlock(48, 96),
        ACBlock(96, 96, kernel=5, groups=96),
        ACBlock(96, 160, stride=2, groups=2),
        ACBlock(160, 160),
    )
    return Classifier(nn.Sequential(*blocks), 160)
