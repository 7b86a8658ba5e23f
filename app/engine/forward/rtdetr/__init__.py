"""RT-DETR in PyTorch (arXiv 2304.08069): its convolution layers, and PP-YOLOE's RepVGG block, with their copies."""

from app.engine.forward.family import Family
from app.engine.forward.rtdetr import conv, rep

FAMILIES: tuple[Family, ...] = (*conv.FAMILIES, *rep.FAMILIES)
