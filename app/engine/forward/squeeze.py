"""Squeeze and excitation: a gate per channel, made from the means of the channels; arXiv 1709.01507."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value


def gated(block: Block, x: Value, squeezed: Value, down: str, up: str, ops: Ops) -> Value:
    """x * sigmoid(up(relu(down(squeezed))))"""
    if squeezed.shape[2:] != (1, 1):
        raise UnknownFlow(block.module.path, "shapes-differ", f"maps of {x.shape[2:]} are squeezed to {squeezed.shape}")
    hidden = ops.pointwise("relu", F.relu, getattr(block, down)(squeezed))
    gate = ops.pointwise("sigmoid", torch.sigmoid, getattr(block, up)(hidden))
    return ops.apply("mul", torch.mul, x, gate)


def mean_of_maps(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, (x.shape[2], x.shape[3]))


def mean_of_first_square(x: Tensor) -> Tensor:
    """A pool as large as the map is wide: of a map that is higher than wide, the mean of its upper part."""
    return F.avg_pool2d(x, x.shape[3])
