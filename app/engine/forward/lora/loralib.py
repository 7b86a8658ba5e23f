"""LoRA layers of Microsoft's `loralib`: a Linear or a convolution with two thin matrices beside its weight."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.lora.layer import become
from app.engine.forward.structure import maps
from app.engine.forward.torch_nn.convolution import convolution_with
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression, literal
from app.engine.ir.graph import Const, Value
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


def merged_linear(block: Block, x: Value, ops: Ops) -> Value:
    """Several projections in one Linear, some of which have thin matrices: section 4.2, of attention's q, k and v."""
    weight = expression(_transposed, block.weight) if block.fan_in_fan_out else block.weight
    if block.r > 0 and not block.merged:
        enabled = tuple(block.enable_lora)
        adapt = partial(_projections_adapted, enabled=enabled, scaling=float(block.scaling))
        weight = expression(adapt, weight, block.lora_A, block.lora_B)
    return ops.linear(x, weight, block.find("bias"))


def _projections_adapted(
    weight: Tensor, first: Tensor, second: Tensor, enabled: tuple[bool, ...], scaling: float
) -> Tensor:
    """W + scaling * B A for each projection that is enabled, whose parts of A and B lie one behind the other."""
    count = sum(enabled)
    parts = iter(zip(first.chunk(count), second.chunk(count), strict=True))
    rows = weight.chunk(len(enabled))
    adapted = [row + scaling * _product(*next(parts)) if on else row for row, on in zip(rows, enabled, strict=True)]
    return torch.cat(adapted)


def _product(first: Tensor, second: Tensor) -> Tensor:
    return second @ first


def lora_convolution(block: Block, x: Value, ops: Ops) -> Any:
    """The convolution with W + scaling * B A, the product in the shape of W; once merged, with W."""
    if block.r <= 0 or block.merged:
        return block.conv(x)
    return ops.call_as(block.conv, partial(_adapted_convolution, wrapper=block), x)


def _adapted_convolution(conv: Block, x: Value, ops: Ops, wrapper: Block) -> Value:
    adapt = partial(_kernel_adapted, scaling=float(wrapper.scaling))
    weight = expression(adapt, conv.weight, wrapper.lora_A, wrapper.lora_B, *_again(wrapper, "weight"))
    bias = conv.find("bias")
    if bias is not None:
        bias = expression(_first, bias, *_again(wrapper, "bias"))
    return convolution_with(conv, x, ops, weight, bias)


def _again(wrapper: Block, name: str) -> tuple[Const, ...]:
    """The convolution's own numbers, which the wrapper registers a second time."""
    found = wrapper.find(name)
    return (found,) if isinstance(found, Const) else ()


def _kernel_adapted(weight: Tensor, first: Tensor, second: Tensor, *again: Tensor, scaling: float) -> Tensor:
    return weight + scaling * (second @ first).reshape(weight.shape)


def _first(numbers: Tensor, *again: Tensor) -> Tensor:
    return numbers


def _merged_fits(module: Module) -> bool:
    enabled = module.attribute("enable_lora", None)
    listed = isinstance(enabled, list) and all(type(on) is bool for on in enabled)
    return _fits(module) and listed and (module.attribute("r", 0) == 0 or any(enabled))


def _convolution_fits(module: Module) -> bool:
    """What the wrapper registers of its convolution a second time is the same memory."""
    conv, rank = module.child("conv"), module.attribute("r", None)
    if conv is None or type(rank) is not int or type(module.attribute("merged", None)) is not bool:
        return False
    thin = all(module.tensor(name) is not None for name in _THIN)
    adapted = thin and type(module.attribute("scaling", None)) in (int, float)
    plain = conv.class_path == module.class_path.replace("loralib.layers", "torch.nn.modules.conv")
    twice = all(
        module.table("_parameters").get(name) in (None, conv.table("_parameters").get(name))
        for name in ("weight", "bias")
    )
    return plain and twice and (rank <= 0 or adapted)


def _convolution_slots(module: Module) -> tuple[Slot, ...]:
    adapted = module.attribute("r", 0) > 0 and not module.attribute("merged", False)
    return (Slot(_SLOT, ("conv", "weight", "bias", *_THIN)),) if adapted else ()


def _write_convolution(module: Module, layers: Mapping[str, Any]) -> None:
    conv = module.child("conv")
    assert conv is not None
    become(module, layers[_SLOT], biased=conv.tensor("bias") is not None)


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
    Family(
        "loralib MergedLinear",
        ("loralib.layers.MergedLinear",),
        merged_linear,
        _merged_fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=_shapes,
        idle=("lora_ind",),  # `enable_lora`, once more
    ),
    *(
        Family(
            f"loralib Conv{dims}d",
            (f"loralib.layers.Conv{dims}d",),
            lora_convolution,
            _convolution_fits,
            deploy=DeployForm(_convolution_slots, _write_convolution),
            example_shapes=maps(),
            idle=("weight", "bias"),  # those of its `conv`, once more
        )
        for dims in (1, 2, 3)
    ),
)
