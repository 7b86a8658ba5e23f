"""OREPA (arXiv 2204.00826): the kernel of one convolution made of several linear branches."""

from app.engine.forward.family import Family
from app.engine.forward.orepa import block, large, nets, repvgg

FAMILIES: tuple[Family, ...] = (*block.FAMILIES, *large.FAMILIES, *repvgg.FAMILIES, *nets.FAMILIES)
