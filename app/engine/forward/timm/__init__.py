"""timm: its layers, re-parameterisable blocks and networks, and how each block is deployed."""

from app.engine.forward.family import Family
from app.engine.forward.timm import blocks, hybrids, layers, nets

FAMILIES: tuple[Family, ...] = (*layers.FAMILIES, *blocks.FAMILIES, *nets.FAMILIES, *hybrids.FAMILIES)
