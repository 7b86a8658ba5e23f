"""Gives a model with random weights the statistics of a trained one, so that no fold is trivial."""

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

BATCHES = 3
BATCH_SIZE = 4


def calibrate(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Randomise every norm's affine part, then let the batch norms see seeded random batches. Leaves `.eval()`."""
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for module in model.modules():
        _randomise(module)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not a moving one
        norm.train()
    with torch.no_grad():
        for _ in range(BATCHES if norms else 0):
            model(torch.randn(BATCH_SIZE, *shape[1:]))
    model.eval()


def _randomise(module: nn.Module) -> None:
    with torch.no_grad():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | FrozenBatchNorm2d):
            _spread(module.weight)
            module.bias.normal_(0, 0.2)
        elif isinstance(getattr(module, "bias", None), nn.Parameter) and not module.bias.any():
            module.bias.normal_(0, 0.05)  # no training leaves a bias at zero, where tools drop its addition
        scale = getattr(module, "layer_scale", None)
        if isinstance(scale, nn.Parameter):
            scale.uniform_(0.05, 0.5)


def _spread(gamma: Tensor) -> None:
    """Between a half and one and a half, one in eight negative."""
    gamma.uniform_(0.5, 1.5)
    gamma[::8] *= -1
