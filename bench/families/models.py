"""Models of timm as a training would leave them: norms that have seen batches, no affine part trivial."""

import timm
import torch
from torch import Tensor, nn

_BATCHES, _BATCH = 2, 8


def calibrated(name: str, seed: int) -> nn.Module:
    """In evaluation mode, without gradients."""
    torch.manual_seed(seed)
    model = timm.create_model(name)
    for path, parameter in model.named_parameters():
        _spread(path.rpartition(".")[2], parameter)
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not a moving one
        norm.train()
    for _ in range(_BATCHES):
        model(pictures(model, _BATCH))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval().requires_grad_(False)


def pictures(model: nn.Module, count: int) -> Tensor:
    """Noise of the size that the model is made for; each picture has a contrast and a colour of its own."""
    size = model.pretrained_cfg["input_size"]
    contrast = torch.rand(count, 1, 1, 1) + 0.5
    return torch.randn(count, *size) * contrast + torch.randn(count, size[0], 1, 1)


def _spread(name: str, parameter: Tensor) -> None:
    """No scale at one, no bias at zero; and none at the 1e-6 of a fresh LayerScale, which hides what is before it."""
    if name in {"bias", "beta"}:
        parameter.normal_(0, 0.1)
    elif parameter.numel() > 1 and parameter.std() < 1e-6:  # scales, before a training
        parameter.uniform_(0.5, 1.5)
