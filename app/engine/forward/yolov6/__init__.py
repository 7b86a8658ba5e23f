"""YOLOv6 (arXiv 2209.02976, 2301.05586): its convolution modules, re-parameterised blocks and what is built of them."""

from app.engine.forward.family import Family
from app.engine.forward.yolov6 import blocks, conv, rep

FAMILIES: tuple[Family, ...] = (*conv.FAMILIES, *rep.FAMILIES, *blocks.FAMILIES)
