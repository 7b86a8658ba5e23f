"""Operators that torchvision registers shapes for, where its compiled part does not load."""

from functools import cache
from importlib import import_module

import torch

# Beside a torch of another build (a CPU torch and wheels for CUDA) torchvision's compiled part does not load, and its
# import fails at the first of these. No model that is fused calls them.
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def defined() -> torch.library.Library | None:
    """Declares what is missing, so that torchvision's models can be imported; None where nothing is.

    What was declared goes with the library: the cache keeps it.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch's
        for operator in _OPERATORS:
            library.define(f"{operator}{_SIGNATURE}")  # type: ignore[no-untyped-call]  # torch's
        return library
    return None
