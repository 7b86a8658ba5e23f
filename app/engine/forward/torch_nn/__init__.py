"""The layers of torch.nn: what each computes in `.eval()`."""

from app.engine.forward.family import Family
from app.engine.forward.torch_nn import (
    activation,
    attention,
    container,
    convolution,
    normalization,
    pooling,
    shape,
)

FAMILIES: tuple[Family, ...] = (
    *convolution.FAMILIES,
    *normalization.FAMILIES,
    *activation.FAMILIES,
    *pooling.FAMILIES,
    *shape.FAMILIES,
    *attention.FAMILIES,
    *container.FAMILIES,
)
