"""timm's own layers, from which its models are built."""

from app.engine.forward.family import Family
from app.engine.forward.timm.layers import (
    activation,
    attention,
    conv,
    conv_norm_act,
    head,
    norm,
    pooling,
    scale,
)

FAMILIES: tuple[Family, ...] = (
    *activation.FAMILIES,
    *norm.FAMILIES,
    *conv.FAMILIES,
    *conv_norm_act.FAMILIES,
    *attention.FAMILIES,
    *scale.FAMILIES,
    *pooling.FAMILIES,
    *head.FAMILIES,
)
