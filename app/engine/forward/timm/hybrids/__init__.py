"""timm's networks of convolutions and attention whose attention knows positions by a learned bias, and SwiftFormer."""

from app.engine.forward.family import Family
from app.engine.forward.timm.hybrids import (
    efficientformer,
    efficientformer_v2,
    efficientvit,
    levit,
    swiftformer,
    tiny_vit,
)

FAMILIES: tuple[Family, ...] = (
    *levit.FAMILIES,
    *tiny_vit.FAMILIES,
    *efficientvit.FAMILIES,
    *efficientformer.FAMILIES,
    *efficientformer_v2.FAMILIES,
    *swiftformer.FAMILIES,
)
