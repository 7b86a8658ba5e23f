"""Ultralytics' package: YOLOv8, YOLOv10, YOLO11, YOLO12 and what it has of the others; releases from 8.0 on."""

from app.engine.forward.family import Family
from app.engine.forward.ultralytics import attention, conv, csp, elan, heads, model, plain

FAMILIES: tuple[Family, ...] = (
    *conv.FAMILIES,
    *plain.FAMILIES,
    *csp.FAMILIES,
    *elan.FAMILIES,
    *attention.FAMILIES,
    *heads.FAMILIES,
    *model.FAMILIES,
)
