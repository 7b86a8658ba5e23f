"""Factors per channel that a block keeps as parameters behind its paths (LayerScale, arXiv 2103.17239): their fold."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.stochastic_depth import kept
from app.engine.forward.structure import below, put, silence
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FLAG = "use_layer_scale"


def beside(block: Block, x: Value, path: Any, factor: str, ops: Ops, axis: int = 1) -> Value:
    """x + drop_path(factor * path), where the block scales its paths."""
    scaled = ops.scale(path, getattr(block, factor), axis) if getattr(block, _FLAG) else path
    dropped = kept(block, "drop_path", scaled)
    with ops.outside():
        return ops.add(x, dropped)


def scales_fit(module: Module) -> bool:
    return type(module.attribute(_FLAG, None)) is bool and module.child("drop_path") is not None


def scaled_form(*paths: tuple[str, tuple[str, ...], str]) -> DeployForm:
    """The factors in the last layer of each path, (layer, norms behind it, factor); the block then has none."""

    def slots(module: Module) -> tuple[Slot, ...]:
        if not module.attribute(_FLAG, False):
            return ()
        return tuple(Slot(layer, (layer, *norms, factor)) for layer, norms, factor in paths)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for layer, norms, factor in paths:
            put(module, layer, convolutions[layer])
            for norm in norms:
                if below(module, norm) is not None:
                    silence(module, norm)
            module.drop(factor)
        module.state[_FLAG] = False

    return DeployForm(slots, write, all_or_nothing=True, absorbs=False)
