"""Stochastic depth (arXiv 1603.09382): a path that training drops at random, and inference never does."""

from typing import Any

from app.engine.forward.trace import Block

_DROPS = "DropPath"


def kept(block: Block, name: str, x: Any) -> Any:
    """The value behind the child `name`: a DropPath lets it through, whichever library's it is."""
    drop: Block = getattr(block, name)
    plain = drop.module.class_path.rpartition(".")[2] == _DROPS and not any(drop.module.tensors())
    untouched = not drop.module.hooks and drop.module.forward_override is None
    return x if plain and untouched else drop(x)
