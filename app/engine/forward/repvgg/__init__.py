"""RepVGG (arXiv 2101.03697): blocks of three branches that become one 3x3 convolution each."""

from app.engine.forward.family import Family
from app.engine.forward.repvgg import block, model

FAMILIES: tuple[Family, ...] = (*block.FAMILIES, *model.FAMILIES)
