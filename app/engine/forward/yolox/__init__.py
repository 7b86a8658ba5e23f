"""YOLOX (arXiv 2107.08430): its blocks, its decoupled head and the whole model."""

from app.engine.forward.family import Family
from app.engine.forward.yolox import blocks, head, model

FAMILIES: tuple[Family, ...] = (*blocks.FAMILIES, *head.FAMILIES, *model.FAMILIES)
