"""RepLKNet (arXiv 2203.06717): large depthwise kernels, each with a small one merged into it."""

from app.engine.forward.family import Family
from app.engine.forward.replknet import large_kernel, model

FAMILIES: tuple[Family, ...] = (*large_kernel.FAMILIES, *model.FAMILIES)
