"""LoRA layers of Microsoft's `loralib`: a Linear with two thin matrices beside its weight."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.lora.layer import become
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_SLOT = "merged"
_THIN = ("lora_A", "lora_B")


def lora_linear(block: Block, x: Value, ops: Ops) -> Value:
    """W x + b + scaling * B A x; once merged, W x + b."""
    weight = expression(_transposed, block.weight) if block.fan_in_fan_out else block.weight
    total = ops.linear(x, weight, block.find("bias"))
    if block.r <= 0 or block.merged:
        return total
    y = ops.linear(ops.linear(x, block.lora_A), block.lora_B)
    return ops.add(total, ops.scale(y, literal(torch.tensor(float(block.scaling), dtype=torch.float64))))


def _transposed(weight: Tensor) -> Tensor:
    return weight.transpose(0, 1)


def _fits(module: Module) -> bool:
    rank, weight = module.attribute("r", None), module.tensor("weight")
    flags = all(type(module.attribute(name, None)) is bool for name in ("merged", "fan_in_fan_out"))
    thin = rank == 0 or all(module.tensor(name) is not None for name in _THIN)
    scaled = rank == 0 or type(module.attribute("scaling", None)) in (int, float)
    return type(rank) is int and weight is not None and len(weight.shape) == 2 and flags and thin and scaled


def _slots(module: Module) -> tuple[Slot, ...]:
    return (Slot(_SLOT, ("weight", "bias", *_THIN)),)


def _write(module: Module, layers: Mapping[str, Any]) -> None:
    become(module, layers[_SLOT], biased=module.tensor("bias") is not None)


def _shapes(module: Module) -> tuple[tuple[int, ...], ...] | None:
    features = module.attribute("in_features", None)
    return ((2, features),) if type(features) is int and 0 < features < 1 << 18 else None


FAMILIES = (
    Family(
        "loralib Linear",
        ("loralib.layers.Linear",),
        lora_linear,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=_shapes,
    ),
)
