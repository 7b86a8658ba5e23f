"""EfficientViM: depthwise convolutions around a state-space mixer; arXiv 2411.15241, figure 3."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Shapes, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.hybrids.heads import mean_of_two, pools_or_not
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_DEPTHWISE = ("dwconv1", "dwconv2")


def depthwise_residual(block: Block, name: str, x: Value, ops: Ops) -> Any:
    """x plus a depthwise convolution of x; deployed, the convolution holds the sum."""
    layer = getattr(block, name)
    y = layer(x)
    if block.fused:
        return y
    with ops.as_part_of(layer):
        return ops.add(x, y)


def patch_merging(block: Block, x: Value, ops: Ops) -> Any:
    narrow = block.conv(depthwise_residual(block, "dwconv1", x, ops))
    return depthwise_residual(block, "dwconv2", narrow, ops)


def gated_depthwise(block: Block, name: str, row: int, x: Value, ops: Ops) -> Any:
    """x + sigmoid(alpha) * (conv(x) - x), all of it linear."""
    layer = getattr(block, name)
    y = layer(x)
    if block.fused:
        return y
    with ops.as_part_of(layer):
        difference = ops.add(y, ops.scale(x, literal(torch.tensor([-1.0]))))
        return ops.add(x, ops.scale(difference, expression(partial(opened, row=row), block.alpha)))


def opened(alpha: Tensor, row: int) -> Tensor:
    return torch.sigmoid(alpha[row])


def between(x: Tensor, y: Tensor, alpha: Tensor, row: int) -> Tensor:
    """x + sigmoid(alpha) * (y - x)"""
    return x + opened(alpha, row).reshape(-1, 1, 1) * (y - x)


def mixing_block(block: Block, x: Value, ops: Ops) -> Any:
    """(map, hidden state); each of the four parts is gated against its own input."""
    x = gated_depthwise(block, "dwconv1", 0, x, ops)
    mixed, hidden = block.mixer(block.norm(x))
    x = ops.apply("gate", between, x, mixed, block.alpha, 1)
    x = gated_depthwise(block, "dwconv2", 2, x, ops)
    return ops.apply("gate", between, x, block.ffn(x), block.alpha, 3), hidden


def mixer(block: Block, x: Value, ops: Ops) -> Any:
    """The dual form of a state-space model: section 3.2. Gives the map and the hidden state."""
    tokens = ops.apply("flatten", torch.flatten, x, 2)
    wide = block.dw(ops.apply("map", torch.unflatten, block.BCdt_proj(tokens), 2, x.shape[2:]))
    states = ops.apply("states", gathered, tokens, wide, block.A)
    hidden, gate = (ops.apply("half", half, block.hz_proj(states), which) for which in (0, 1))
    hidden = block.out_proj(ops.apply("gate", gated, hidden, block.act(gate), block.D))
    return ops.apply("read", spread, hidden, wide), hidden


def gathered(tokens: Tensor, wide: Tensor, decay: Tensor) -> Tensor:
    b, _, dt = wide.flatten(2).chunk(3, 1)
    weights = torch.softmax(dt + decay.reshape(1, -1, 1), -1) * b
    return tokens @ weights.transpose(1, 2)


def half(x: Tensor, which: int) -> Tensor:
    return x.chunk(2, 1)[which]


def gated(hidden: Tensor, gate: Tensor, skip: Tensor) -> Tensor:
    return hidden * gate + hidden * skip


def spread(hidden: Tensor, wide: Tensor) -> Tensor:
    c = wide.flatten(2).chunk(3, 1)[1]
    return torch.unflatten(hidden @ c, 2, wide.shape[2:])


def stage(block: Block, x: Value, ops: Ops) -> Any:
    """(what the stage's norms read, the next stage's input, the last block's hidden state)"""
    hidden: Any = None
    for one in block.blocks:
        x, hidden = one(x)
    return x, x if block.downsample is None else block.downsample(x), hidden


def network(block: Block, x: Value, ops: Ops) -> Any:
    """The hidden states of all stages and the last map, each through a head of its own; figure 3 (a)."""
    x = block.patch_embed(x)
    *state_norms, map_norm = block.norm
    states: list[Any] = []
    for part, norm in zip(block.stages, state_norms, strict=True):
        _, x, hidden = part(x)
        states.append(swapped(norm(swapped(hidden, ops)), ops))
    states.append(ops.apply("flatten", torch.flatten, map_norm(x), 2))
    if not block.global_pool:
        return states
    means = [block.head_drop(ops.apply("mean", torch.mean, state, -1)) for state in states]
    if block.num_classes == 0:
        return ops.concat(means)
    answers = [(block.weights, block.heads)]
    if block.has("heads_dist"):
        answers.append((block.weights_dist, block.heads_dist))
    made = [
        ops.apply("weighed", weighed, weights, *(head(mean) for head, mean in zip(heads, means, strict=True)))
        for weights, heads in answers
    ]
    return made[0] if len(made) == 1 else ops.apply("mean of two heads", mean_of_two, *made)


def swapped(x: Value, ops: Ops) -> Any:
    return ops.apply("transpose", torch.transpose, x, 1, 2)


def weighed(weights: Tensor, *answers: Tensor) -> Tensor:
    return torch.einsum("h,hbc->bc", torch.softmax(weights, -1), torch.stack(answers))


def _network_fits(module: Module) -> bool:
    if not (pools_or_not(module) and has_children(module, "patch_embed", "stages", "norm", "head_drop", "heads")):
        return False
    stages, norms = (len(list(part.children())) for name in ("stages", "norm") if (part := module.child(name)))
    return norms == stages + 1


def _form() -> DeployForm:
    """Both depthwise convolutions at once: one flag says that they are fused."""

    def slots(module: Module) -> tuple[Slot, ...]:
        fused = module.attribute("fused", False)
        return () if fused else tuple(Slot(f"{name}.conv", (name,)) for name in _DEPTHWISE)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for name in _DEPTHWISE:
            layer = module.child(name)
            assert layer is not None
            layer.replace_child("conv", convolutions[f"{name}.conv"])
            layer.drop("norm")
            layer.state["norm"] = None
        module.state["fused"] = True

    return DeployForm(slots, write, all_or_nothing=True, absorbs=False)


def _examples(module: Module) -> Shapes | None:
    first = module.child("dwconv1")
    return None if first is None else maps()(first)


def _path(*names: str) -> tuple[str, ...]:
    return tuple(f"timm.models.efficientvim.{name}" for name in names)


FAMILIES = (
    sequence("timm EfficientViM ConvLayer", _path("ConvLayer1d", "ConvLayer2d"), "conv", "norm?", "act?"),
    sequence("timm EfficientViM Stem", _path("Stem"), "conv"),
    sequence("timm EfficientViM FFN", _path("FFN"), "fc1", "fc2"),
    Family(
        "timm EfficientViM PatchMerging",
        _path("PatchMerging"),
        patch_merging,
        steps_fit("conv", *_DEPTHWISE),
        deploy=_form(),
        example_shapes=_examples,
    ),
    Family(
        "timm EfficientViM HSMSSD",
        _path("HSMSSD"),
        mixer,
        steps_fit("BCdt_proj", "dw", "hz_proj", "out_proj", "act"),
    ),
    Family(
        "timm EfficientViMBlock",
        _path("EfficientViMBlock"),
        mixing_block,
        lambda module: has_children(module, "mixer", "norm", *_DEPTHWISE, "ffn") and module.has("alpha"),
        deploy=_form(),
        example_shapes=_examples,
    ),
    Family(
        "timm EfficientViM stage",
        _path("EfficientViMStage"),
        stage,
        lambda module: has_children(module, "blocks"),
    ),
    Family(
        "timm EfficientViM",
        _path("EfficientViM", "EfficientViMDistilled"),
        network,
        _network_fits,
        example_shapes=images(224, 192),
    ),
)
