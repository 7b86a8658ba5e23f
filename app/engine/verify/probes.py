"""Seeded inputs on which a model is tried before and after."""

from collections.abc import Sequence

import torch
from torch import Tensor

SEED = 20260101


def probe(shapes: Sequence[tuple[int, ...]], images: bool, seed: int = SEED) -> list[Tensor]:
    """Inputs of these shapes in float64: uniform in [0, 1) for images, normal for feature maps; rounded to bf16 steps.

    Values that bf16 and (but for the tiniest) fp16 hold exactly enter every dtype alike: no figure measures the
    rounding of the input.
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape in shapes:
        values = torch.rand(shape, generator=generator) if images else torch.randn(shape, generator=generator)
        made.append(values.to(torch.bfloat16).to(torch.float64))
    return made
