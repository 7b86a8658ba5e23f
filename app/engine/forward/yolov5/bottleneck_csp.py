"""BottleneckCSP, the cross-stage-partial block of YOLOv5's first releases: one batch norm over two joined paths."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module, identity_node

_IDENTITY = "torch.nn.modules.linear.Identity"
CHILDREN = ("cv1", "cv2", "cv3", "cv4", "bn", "act", "m")


def bottleneck_csp(block: Block, x: Value, ops: Ops) -> Any:
    """Two paths of plain convolutions, one of them through bottlenecks; arXiv 1911.11929, figure 2.

    A norm of joined channels is a norm of each path by its share of the numbers, so each convolution takes in its own.
    """
    deep, past = block.cv3(block.m(block.cv1(x))), block.cv2(x)
    if block.bn.module.class_path != _IDENTITY:
        width = deep.shape[1]
        deep = ops.share_of(block.bn, partial(_share, start=0, whole=width + past.shape[1]), deep)
        past = ops.share_of(block.bn, partial(_share, start=width, whole=width + past.shape[1]), past)
    return block.cv4(block.act(ops.concat([deep, past])))


def _share(norm: Block, x: Value, ops: Ops, start: int, whole: int) -> Value:
    """The batch norm of the channels from `start` on."""

    def part(name: str) -> Const | None:
        found = norm.find(name)
        if found is None:
            return None
        if found.shape != (whole,):
            raise ValueError(f"{name} is for {found.shape} channels, {whole} are joined")
        return expression(partial(_channels, start=start, count=x.shape[1]), found)

    return ops.batch_norm(x, part("running_mean"), part("running_var"), part("weight"), part("bias"), norm.eps)


def _channels(numbers: Tensor, start: int, count: int) -> Tensor:
    return numbers[start : start + count]


def _slots(module: Module) -> tuple[Slot, ...]:
    norm = module.child("bn")
    plain = norm is not None and norm.class_path != _IDENTITY
    return (Slot("cv2", ("cv2",)), Slot("cv3", ("cv3",))) if plain else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    for name, node in convolutions.items():
        module.replace_child(name, node)
    module.replace_child("bn", identity_node(bool(module.attribute("training", False))))


DEPLOY = DeployForm(_slots, _write, all_or_nothing=True, absorbs=False, spread=True)
