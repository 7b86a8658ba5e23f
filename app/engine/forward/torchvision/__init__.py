"""torchvision: its layers, and its classifiers as whole networks."""

from app.engine.forward.family import Family
from app.engine.forward.torchvision import dense, inception, layers, mobile, resnet

FAMILIES: tuple[Family, ...] = (
    *layers.FAMILIES,
    *resnet.FAMILIES,
    *mobile.FAMILIES,
    *dense.FAMILIES,
    *inception.FAMILIES,
)
