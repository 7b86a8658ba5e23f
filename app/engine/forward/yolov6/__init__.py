"""YOLOv6 (arXiv 2209.02976, 2301.05586): its blocks, backbones, necks, heads and whole models."""

from app.engine.forward.family import Family
from app.engine.forward.yolov6 import backbone, blocks, conv, head, lite, model, neck, rep

FAMILIES: tuple[Family, ...] = (
    *conv.FAMILIES,
    *rep.FAMILIES,
    *blocks.FAMILIES,
    *lite.FAMILIES,
    *backbone.FAMILIES,
    *neck.FAMILIES,
    *head.FAMILIES,
    *model.FAMILIES,
)
