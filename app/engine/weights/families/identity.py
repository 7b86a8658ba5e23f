"""The kernel that a 1x1 convolution starts from which is stored as its difference from the identity."""

import torch

from app.engine.ir.node import Object
from app.engine.ir.tensors import StoredTensor, buffer


def identity_kernel(weight: StoredTensor) -> Object:
    """(channels, channels / groups, 1, 1): each channel takes in its own place within its group."""
    channels, wide = weight.shape[:2]
    kernel = torch.zeros(weight.shape, dtype=torch.float32)
    kernel[torch.arange(channels), torch.arange(channels) % wide] = 1
    return buffer(kernel)
