"""BottleneckCSP, the cross-stage-partial block of YOLOv5's first releases: one batch norm over two joined paths."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.shares import normed_apart
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node

_IDENTITY = "torch.nn.modules.linear.Identity"
CHILDREN = ("cv1", "cv2", "cv3", "cv4", "bn", "act", "m")


def bottleneck_csp(block: Block, x: Value, ops: Ops) -> Any:
    """Two paths of plain convolutions, one of them through bottlenecks; arXiv 1911.11929, figure 2.

    A norm of joined channels is a norm of each path by its share of the numbers, so each convolution takes in its own.
    """
    deep, past = block.cv3(block.m(block.cv1(x))), block.cv2(x)
    if block.bn.module.class_path != _IDENTITY:
        deep, past = normed_apart(block.bn, (deep, past), ops)
    return block.cv4(block.act(ops.concat([deep, past])))


def _slots(module: Module) -> tuple[Slot, ...]:
    norm = module.child("bn")
    plain = norm is not None and norm.class_path != _IDENTITY
    return (Slot("cv2", ("cv2",)), Slot("cv3", ("cv3",))) if plain else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    for name, node in convolutions.items():
        module.replace_child(name, node)
    module.replace_child("bn", identity_node(bool(module.attribute("training", False))))


DEPLOY = DeployForm(_slots, _write, all_or_nothing=True, absorbs=False, spread=True)
