"""Networks for small devices in their authors' own code, as whole modules: LeViT and its kin, and what timm ported.

What the blocks compute is described beside timm's ports of them; here are the classes as the papers' repositories
name them, under whatever module path a user keeps them (`members`).
"""

from app.engine.forward.family import Family
from app.engine.forward.mobile import (
    conv_norm,
    efficientvit,
    fastvit,
    ghostnetv3,
    hybrids,
    levit,
    repghost,
    repvit,
    shvit,
)

FAMILIES: tuple[Family, ...] = (
    *fastvit.FAMILIES,
    *repghost.FAMILIES,
    *ghostnetv3.FAMILIES,
    *conv_norm.FAMILIES,
    *repvit.FAMILIES,
    *levit.FAMILIES,
    *shvit.FAMILIES,
    *efficientvit.FAMILIES,
    *hybrids.FAMILIES,
)
