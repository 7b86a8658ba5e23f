"""torch.nn.Sequential."""

from typing import Any

from app.engine.forward.averaged import averages, commutes
from app.engine.forward.family import Family
from app.engine.forward.norms_of_tokens import normed_tokens
from app.engine.forward.structure import maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir import graph as ir
from app.engine.ir.graph import Value

_FLATTEN = "torch.nn.modules.flatten.Flatten"
_LINEAR = "torch.nn.modules.linear.Linear"
_LETS_THROUGH = ("torch.nn.modules.dropout.", "torch.nn.modules.linear.Identity")


def sequential(block: Block, x: Any, ops: Ops) -> Any:
    """The children one after the other; a norm before a mean that no layer before it can take in is put behind it."""
    children = list(block)
    while children:
        child, *children = children
        count = 0 if _follows_layer(x) else _to_linear(child, children)
        for between in children[:count]:
            x = between(x)
        x = normed_tokens(child, x, ops) if count else child(x)
        children = children[count:]
    return x


def _follows_layer(x: Any) -> bool:
    """Whether a layer made the value that can take in a norm behind it."""
    node = x.node if isinstance(x, Value) else None
    return node is not None and isinstance(node.operation, (ir.Conv, ir.Linear, ir.BatchNorm))


def _to_linear(norm: Block, behind: list[Block]) -> int:
    """How many layers stand between a norm and the Linear that can take it in: a mean, and what lets it through."""
    if not commutes(norm.module):
        return 0
    pooled = flat = False
    for count, layer in enumerate(behind):
        path = layer.module.class_path
        if path == _LINEAR and flat:
            return count
        if averages(layer.module) and not pooled:
            pooled = True
        elif path == _FLATTEN and pooled and _all_dimensions(layer):
            flat = True
        elif not path.startswith(_LETS_THROUGH):
            return 0
    return 0


def _all_dimensions(flatten: Block) -> bool:
    """But the batch's: (n, c, 1, 1) to (n, c)."""
    return (flatten.module.attribute("start_dim", 1), flatten.module.attribute("end_dim", -1)) == (1, -1)


FAMILIES = (
    Family("torch.nn Sequential", ("torch.nn.modules.container.Sequential",), sequential, example_shapes=maps()),
)
