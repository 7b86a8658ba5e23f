"""Two residual halves of a transformer block, and a head beside one that was distilled (arXiv 2012.12877, figure 2)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.averaged import commutes
from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.norms_of_tokens import projected
from app.engine.forward.steps import through
from app.engine.forward.structure import silence
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_LINEAR = ("torch.nn.modules.linear.Linear", "timm.layers.linear.Linear")


def halves(*parts: tuple[str, ...]) -> Callable[[Block, Value, Ops], Any]:
    """x plus what the children of each part make of it, one part after the other."""

    def describe(block: Block, x: Any, ops: Ops) -> Any:
        for steps in parts:
            x = ops.add(x, through(block, x, *steps))
        return x

    return describe


def averaged_heads(block: Block, x: Any, ops: Ops) -> Any:
    """The mean of both heads' answers."""
    return ops.apply("mean of two heads", mean_of_two, block.head(x), block.head_dist(x))


def mean_of_two(x: Tensor, y: Tensor) -> Tensor:
    return (x + y) / 2


def pooled(block: Block, x: Value, dims: tuple[int, ...], ops: Ops) -> Value:
    """The mean over all positions; without a pool (`global_pool` is empty) the map or tokens as they are."""
    return ops.apply("global_pool", torch.mean, x, dims) if block.global_pool == "avg" else x


def heads_behind_norm(block: Block, x: Value, ops: Ops) -> Any:
    """head_drop(mean(norm(x))) and the heads, with the norm behind the mean once for each head that takes it in."""
    heads = [getattr(block, name) for name in _heads(block.module)]
    if _taken(block.module):
        mean = block.head_drop(pooled(block, x, (2, 3), ops))
        answers = [projected(head, mean, [block.norm], ops) for head in heads]
    else:
        mean = block.head_drop(pooled(block, block.norm(x), (2, 3), ops))
        answers = [head(mean) for head in heads]
    return answers[0] if len(answers) == 1 else ops.apply("mean of two heads", mean_of_two, *answers)


def _heads(module: Module) -> tuple[str, ...]:
    return tuple(name for name in ("head", "head_dist") if module.child(name) is not None)


def _taken(module: Module) -> bool:
    """Whether the heads take in the norm of the last map: the map is averaged, and each of them is a Linear."""
    plain = all(head is not None and head.class_path in _LINEAR for head in map(module.child, _heads(module)))
    return plain and module.attribute("global_pool", None) == "avg" and commutes(module.child("norm"))


def _slots(module: Module) -> tuple[Slot, ...]:
    return tuple(Slot(name, (name,)) for name in _heads(module)) if _taken(module) else ()


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    for name, node in convolutions.items():
        module.replace_child(name, node)
    silence(module, "norm")


HEADS_BEHIND_NORM = DeployForm(_slots, _write, all_or_nothing=True, absorbs=False, spread=True)


def pools_or_not(module: Module) -> bool:
    return module.attribute("global_pool", None) in ("", "avg")
