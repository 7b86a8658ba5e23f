"""OpenMMLab's layers (mmcv.cnn.bricks): ConvModule in any order of its parts, and what its registries build."""

from app.engine.forward.family import Family
from app.engine.forward.mmcv import conv_module, layers

FAMILIES: tuple[Family, ...] = (*conv_module.FAMILIES, *layers.FAMILIES)
