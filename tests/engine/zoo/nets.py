"""Small networks whose code nobody describes: what they compute is known from torch.export alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NormAct(nn.BatchNorm2d):
    """A norm that applies an activation itself, as packages have it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        normed = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return self.act(normed)


class FrozenNorm(nn.Module):
    """Fixed statistics, applied as a factor and an offset that are computed from buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale.reshape(1, -1, 1, 1) + (self.bias - self.running_mean * scale).reshape(1, -1, 1, 1)


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights are standardised each time."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Odd(nn.Module):
    """Norms declared in another order than they are called in, behind a convolution and before one."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(6)
        self.first = NormAct(8)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.frozen = FrozenNorm(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.before = nn.BatchNorm2d(16)
        self.point = nn.Conv2d(16, 6, 1)
        self.head = nn.Linear(6, 5)
        self.head_norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        x = torch.cat([x, F.relu(self.frozen(self.depthwise(x)))], 1)
        x = self.point(self.before(x))
        return self.head_norm(self.head(F.relu(self.last(x)).mean((2, 3))))


class Kept(nn.Module):
    """Norms and convolutions that must stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.padded_norm = nn.BatchNorm2d(4)
        self.padded = nn.Conv2d(4, 4, 3, padding=1)
        self.standardised = StandardisedConv(4, 4, 3, padding=1)
        self.standardised_norm = nn.BatchNorm2d(4)
        self.chained = nn.Conv2d(4, 4, 1)
        self.read_twice = nn.Conv2d(4, 4, 1)
        self.read_norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.twice(self.twice(x))))
        x = F.relu(self.padded(F.relu(x) + self.padded_norm(F.relu(x))))
        x = F.relu(self.standardised_norm(self.standardised(x)))
        x = self.read_twice(self.chained(x))
        return x + F.relu(self.read_norm(x))


class RepDepthwiseSeparable(nn.Module):
    """In the place of timm's: branches that its deploy form takes, and a pointwise layer that it does not."""

    __module__ = "timm.models.lcnetv2"

    def __init__(self) -> None:
        super().__init__()
        self.dw_conv_list = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, size, padding=size // 2, groups=4, bias=False), nn.BatchNorm2d(4))
            for size in (5, 3)
        )
        self.pw_conv = nn.Sequential(nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.pw_conv(F.relu(self.dw_conv_list[0](x) + self.dw_conv_list[1](x)))


class Refusing(nn.Module):
    """Code that fails in a way that nobody foresees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("only in the lab")


def trained(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in eval mode with statistics and affine values that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in net.modules():
            if getattr(module, "running_var", None) is not None:
                draw(module.running_mean, -0.5, 0.5)
                draw(module.running_var, 0.5, 1.5)
                draw(module.weight, 0.5, 1.5)
                draw(module.bias, -0.5, 0.5)
    return net.eval().requires_grad_(False)
