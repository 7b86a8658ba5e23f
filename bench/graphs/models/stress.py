"""Small graphs of one linear pattern each, as they occur in the wild."""

import torch
from torch import Tensor, nn

from bench.graphs.models.layers import Classifier, conv_norm


class Normalised(nn.Module):
    """An input normalisation, then a classifier that pads its input or doesn't."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).reshape(1, 3, 1, 1))
        self.first = nn.Sequential(conv_norm(3, 16, 3, 2, padding=padding), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.first((x - self.mean) / self.std)


def input_normalisation() -> nn.Module:
    """The first convolution doesn't pad: the normalisation can go into it."""
    return Classifier(Normalised(padding=0), 16)


def input_normalisation_padded() -> nn.Module:
    """The first convolution pads with zeros after the shift: only the scale can go into it."""
    return Classifier(Normalised(padding=1), 16)


def pre_norm() -> nn.Module:
    """Batch norm, then convolution: unpadded, padded, and 1x1 between two norms."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.BatchNorm2d(32),
        conv_norm(32, 32, 1),
        nn.ReLU(),
        nn.BatchNorm2d(32),
        nn.Conv2d(32, 16, 3, padding=1, bias=False),
        nn.ReLU(),
    )


def conv_chain() -> nn.Module:
    """Convolutions with nothing between them that collapse into fewer."""
    return nn.Sequential(
        conv_norm(3, 24, 1),
        conv_norm(24, 24, 3, padding=0),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, bias=False),
        nn.Conv2d(24, 24, 1),
        conv_norm(24, 24, 1),
        nn.ReLU(),
        nn.Conv2d(24, 24, (1, 3), padding=(0, 1), groups=24, bias=False),
        nn.Conv2d(24, 24, (3, 1), padding=(1, 0), groups=24, bias=False),
        conv_norm(24, 32, 1),
        nn.ReLU(),
    )


class IdentityAdd(nn.Module):
    """x + norm(conv(x)), with the identity scaled by a constant when told."""

    def __init__(self, channels: int, kernel: int, groups: int, gain: float | None = None) -> None:
        super().__init__()
        self.branch = conv_norm(channels, channels, kernel, groups=groups)
        self.gain = gain
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + (x if self.gain is None else self.gain * x))


def identity_add() -> nn.Module:
    return nn.Sequential(
        conv_norm(3, 32, 3, 2),
        nn.ReLU(),
        IdentityAdd(32, 3, 1),
        IdentityAdd(32, 3, 32),
        IdentityAdd(32, 5, 4, gain=0.5),
        IdentityAdd(32, 1, 1),
    )


class Parallel(nn.Module):
    """Convolutions of one input and one geometry, concatenated."""

    def __init__(self, inputs: int, outputs: tuple[int, ...], kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_norm(inputs, o, kernel, groups=groups) for o in outputs)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(torch.cat([branch(x) for branch in self.branches], 1))


def parallel() -> nn.Module:
    return nn.Sequential(
        conv_norm(3, 16, 3, 2),
        nn.ReLU(),
        Parallel(16, (16, 8, 24), 1),
        Parallel(48, (24, 24), 3),
        Parallel(48, (8, 8), 1),
    )


class ArithmeticNorm(nn.Module):
    """Batch norm written as subtraction, division by a root, multiplication and addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        shape = (1, channels, 1, 1)
        self.register_buffer("mean", 0.2 * torch.randn(shape))
        self.register_buffer("var", torch.rand(shape) + 0.5)
        self.gamma = nn.Parameter(torch.rand(shape) + 0.5)
        self.beta = nn.Parameter(0.1 * torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / torch.sqrt(self.var + 1e-5) * self.gamma + self.beta


def arithmetic_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1, bias=False),
        ArithmeticNorm(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1, groups=32),
        ArithmeticNorm(32),
        nn.Conv2d(32, 48, 1),
        ArithmeticNorm(48),
        nn.ReLU(),
        nn.ConvTranspose2d(48, 24, 2, 2),
        ArithmeticNorm(24),
        nn.Sigmoid(),
    )


def linear_chain() -> nn.Module:
    """Linear layers with nothing between them, dropout and batch norm."""
    return nn.Sequential(
        nn.Linear(64, 64),
        nn.Dropout(0.5),
        nn.Linear(64, 96, bias=False),
        nn.BatchNorm1d(96),
        nn.ReLU(),
        nn.BatchNorm1d(96),
        nn.Linear(96, 128),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


class FeedForward(nn.Module):
    """The MLP of a transformer: LayerNorm whose affine part can go into the layer that follows it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(self.activation(self.fc1(self.norm(x))))


def layer_norm_linear() -> nn.Module:
    return nn.Sequential(FeedForward(96, 192), FeedForward(96, 192), nn.LayerNorm(96), nn.Linear(96, 10))
