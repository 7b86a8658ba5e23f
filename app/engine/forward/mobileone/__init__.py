"""MobileOne (arXiv 2206.04040): blocks of many branches that become one convolution each."""

from app.engine.forward.family import Family
from app.engine.forward.mobileone import block, model

FAMILIES: tuple[Family, ...] = (*block.FAMILIES, *model.FAMILIES)
