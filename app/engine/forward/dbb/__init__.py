"""The Diverse Branch Block (arXiv 2103.13425): a convolution's place taken by four branches."""

from app.engine.forward.dbb.block import FAMILIES

__all__ = ["FAMILIES"]
