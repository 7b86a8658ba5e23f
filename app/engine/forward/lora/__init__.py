"""Low-rank adaptation (arXiv 2106.09685): thin layers beside a layer, merged into its weight."""

from app.engine.forward.family import Family
from app.engine.forward.lora import loralib, peft

FAMILIES: tuple[Family, ...] = (*peft.FAMILIES, *loralib.FAMILIES)
