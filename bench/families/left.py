"""What is left of a model, and how far its outputs lie from the original's."""

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.engine.verify.compare import relative_error


@dataclass(frozen=True, slots=True)
class Left:
    """Counts, and errors against the original in float64: of the stored numbers, and of a run in float32."""

    norms: int
    convolutions: int
    parameters: int
    stored: float
    native: float


def randomised(model: nn.Module) -> nn.Module:
    """Statistics and affine values that are not those of a fresh norm."""
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                if module.weight is not None:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.1)
    return model.eval().requires_grad_(False)


def left(model: nn.Module, images: Sequence[Tensor], references: Sequence[Tensor]) -> Left:
    """The errors are medians over the images."""
    norms = sum(getattr(module, "running_var", None) is not None for module in model.modules())
    convolutions = sum(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    exact = copy.deepcopy(model).double()
    pairs = list(zip(images, references, strict=True))
    native = statistics.median(relative_error(model(x), reference) for x, reference in pairs)
    stored = statistics.median(relative_error(exact(x.double()), reference) for x, reference in pairs)
    return Left(norms, convolutions, parameters, stored, native)
