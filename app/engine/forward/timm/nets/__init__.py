"""timm's networks, whole where their modules follow one another simply."""

from app.engine.forward.family import Family
from app.engine.forward.timm.nets import (
    byobnet,
    convnext,
    efficientnet,
    efficientvim,
    fastvit,
    ghostnet,
    hgnet,
    iformer,
    lcnetv2,
    nextvit,
    repghost,
    repvit,
    resnet,
    shvit,
    starnet,
)

FAMILIES: tuple[Family, ...] = (
    *byobnet.FAMILIES,
    *efficientnet.FAMILIES,
    *fastvit.FAMILIES,
    *ghostnet.FAMILIES,
    *repghost.FAMILIES,
    *repvit.FAMILIES,
    *lcnetv2.FAMILIES,
    *shvit.FAMILIES,
    *iformer.FAMILIES,
    *resnet.FAMILIES,
    *convnext.FAMILIES,
    *nextvit.FAMILIES,
    *efficientvim.FAMILIES,
    *starnet.FAMILIES,
    *hgnet.FAMILIES,
)
