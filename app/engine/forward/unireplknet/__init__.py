"""UniRepLKNet (arXiv 2311.15599): large kernels with dilated ones merged into them."""

from app.engine.forward.family import Family
from app.engine.forward.unireplknet import block, dilated, layers, model

FAMILIES: tuple[Family, ...] = (*layers.FAMILIES, *dilated.FAMILIES, *block.FAMILIES, *model.FAMILIES)
