"""YOLOv7 (arXiv 2207.02696): its blocks, heads and models, and how each is deployed."""

from app.engine.forward.family import Family
from app.engine.forward.yolov7 import conv, csp, heads, model, orepa, plain, repconv, swin, transformer

FAMILIES: tuple[Family, ...] = (
    *conv.FAMILIES,
    *repconv.FAMILIES,
    *orepa.FAMILIES,
    *plain.FAMILIES,
    *csp.FAMILIES,
    *transformer.FAMILIES,
    *swin.FAMILIES,
    *heads.FAMILIES,
    *model.FAMILIES,
)
