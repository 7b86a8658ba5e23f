"""What every LoRA layer shares: the plain layer that it becomes; arXiv 2106.09685, section 4.1."""

from typing import Any

from app.engine.ir.module import Module, class_of


def become(module: Module, layer: Any, *, biased: bool) -> None:
    """The merged layer takes the wrapper's place, node and all; without a bias where no part had one."""
    kind = class_of(layer)
    assert kind is not None
    if not biased:
        layer.state["_parameters"]["bias"] = None
    module.node.state = layer.state
    module.set_class(kind)
