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
    return [_floats(shape, images, generator) for shape in shapes]


def typed_probe(inputs: Sequence[tuple[tuple[int, ...], torch.dtype]], seed: int = SEED) -> list[Tensor]:
    """Inputs of these shapes and dtypes: images where they look like some, else normal numbers; 0 and 1 for integers.

    Zeros and ones are sound as flags, masks, and indices of any table that is worth one.
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape, dtype in inputs:
        if dtype.is_floating_point:
            images = len(shape) == 4 and shape[1] in (1, 3, 4)
            made.append(_floats(shape, images, generator))
        else:
            made.append(torch.randint(0, 2, shape, generator=generator).to(dtype))
    return made


def _floats(shape: tuple[int, ...], images: bool, generator: torch.Generator) -> Tensor:
    values = torch.rand(shape, generator=generator) if images else torch.randn(shape, generator=generator)
    return values.to(torch.bfloat16).to(torch.float64)
