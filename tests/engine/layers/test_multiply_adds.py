"""Multiply-adds, held to torch's own counter of operations."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.engine.nets import CONVS, fuse, norm, trained


def products(model: nn.Module, x: torch.Tensor) -> int:
    """What convolutions and linear layers multiply, by torch; what norms and average pools do, by their outputs."""
    more = 0

    def seen(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal more
        more += output.numel() * (module.kernel_size**2 if isinstance(module, nn.AvgPool2d) else 1)

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.AvgPool2d)):
            module.register_forward_hook(seen)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2 + more


def test_they_are_those_that_torch_counts_before_and_after(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        norm(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4, dilation=2),
        norm(8),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.ConvTranspose2d(8, 4, 3, stride=2),
        norm(4),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).eval()
    result = fuse(trained(model), tmp_path)
    (shape,) = result.report.equivalence.probe.shape
    x = torch.randn(shape)
    assert result.report.summary.multiply_adds_before == products(model, x)
    assert result.report.summary.multiply_adds_after == products(result.loaded, x)
    assert any(isinstance(one, CONVS) for one in result.loaded.modules())
