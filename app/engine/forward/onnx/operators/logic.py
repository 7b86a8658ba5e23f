"""Comparisons, booleans and choices."""

from typing import Final

import torch

from app.engine.forward.onnx.operator import Operator, plain

OPERATORS: Final[dict[str, Operator]] = {
    "And": plain(torch.logical_and),
    "Equal": plain(torch.eq),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "IsNaN": plain(torch.isnan),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "Where": plain(torch.where),
    "Xor": plain(torch.logical_xor),
}
