"""timm's networks, whole where their modules follow one another simply."""

from app.engine.forward.family import Family
from app.engine.forward.timm.nets import byobnet, efficientnet, fastvit, ghostnet, repghost, repvit

FAMILIES: tuple[Family, ...] = (
    *byobnet.FAMILIES,
    *efficientnet.FAMILIES,
    *fastvit.FAMILIES,
    *ghostnet.FAMILIES,
    *repghost.FAMILIES,
    *repvit.FAMILIES,
)
