"""YOLOv9 (arXiv 2402.13616): its blocks, heads with one to three branches, and whole models."""

from app.engine.forward.family import Family
from app.engine.forward.yolov9 import blocks, heads, model

FAMILIES: tuple[Family, ...] = (*blocks.FAMILIES, *heads.FAMILIES, *model.FAMILIES)
