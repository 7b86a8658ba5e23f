"""RepVGG (arXiv 2101.03697), its plus and quantisation-aware variants: three branches become one 3x3 convolution."""

from app.engine.forward.family import Family
from app.engine.forward.repvgg import block, model, plus, quantisation

FAMILIES: tuple[Family, ...] = (*block.FAMILIES, *model.FAMILIES, *plus.FAMILIES, *quantisation.FAMILIES)
