"""timm's re-parameterisable blocks that several networks share."""

from app.engine.forward.family import Family
from app.engine.forward.timm.blocks import branches, conv_norm

FAMILIES: tuple[Family, ...] = (*conv_norm.FAMILIES, *branches.FAMILIES)
