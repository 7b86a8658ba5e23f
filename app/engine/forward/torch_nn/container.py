"""torch.nn.Sequential."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.structure import maps
from app.engine.forward.trace import Block, Ops


def sequential(block: Block, x: Any, ops: Ops) -> Any:
    """The children one after the other."""
    for child in block:
        x = child(x)
    return x


FAMILIES = (
    Family("torch.nn Sequential", ("torch.nn.modules.container.Sequential",), sequential, example_shapes=maps()),
)
