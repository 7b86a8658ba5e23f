"""ACNet (arXiv 1908.03930): a convolution strengthened by a horizontal and a vertical one."""

from app.engine.forward.acnet.block import FAMILIES

__all__ = ["FAMILIES"]
