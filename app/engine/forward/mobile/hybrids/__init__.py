"""Networks of convolutions and attention in their authors' own code, whose norms stand before or behind attention."""

from app.engine.forward.family import Family
from app.engine.forward.mobile.hybrids import efficientformer, efficientformer_v2, nextvit, tiny_vit

FAMILIES: tuple[Family, ...] = (
    *nextvit.FAMILIES,
    *efficientformer.FAMILIES,
    *efficientformer_v2.FAMILIES,
    *tiny_vit.FAMILIES,
)
