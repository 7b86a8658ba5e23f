"""YOLOv5 (ultralytics/yolov5): what it has beside the blocks that YOLOv7 shares with it."""

from app.engine.forward.family import Family
from app.engine.forward.yolov5 import blocks, heads, model

FAMILIES: tuple[Family, ...] = (*blocks.FAMILIES, *heads.FAMILIES, *model.FAMILIES)
