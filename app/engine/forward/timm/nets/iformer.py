"""iFormer: modulated single-head attention and depthwise convolutions; arXiv 2501.15369, figure 3."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def residual(block: Block, x: Value, ops: Ops) -> Value:
    """x + gamma * module(x); most variants have no gamma."""
    y = through(block, x, "module", "drop_path")
    return ops.add(x, y if block.find("gamma") is None else ops.scale(y, block.gamma))


def _without_scale(module: Module) -> bool:
    inner = module.child("cpe")
    return inner is not None and inner.child("module") is not None and inner.tensor("gamma") is None


def _windowless(module: Module) -> bool:
    return has_children(module, "q", "k", "v_gate", "gate_act", "proj") and not module.attribute("window_size", 1)


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """proj(attention * gate): values and gate come from one convolution and one activation."""
    pair = block.gate_act(block.v_gate(x))
    modulated = ops.apply("attention", modulate, block.q(x), block.k(x), pair)
    return block.proj(modulated)


def modulate(q: Tensor, k: Tensor, pair: Tensor) -> Tensor:
    value, gate = pair.chunk(2, 1)
    scores = torch.softmax((q.flatten(2).transpose(1, 2) @ k.flatten(2)) * q.shape[1] ** -0.5, -1)
    return torch.unflatten(value.flatten(2) @ scores.transpose(1, 2), 2, gate.shape[2:]) * gate


def net(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "stem", "stages")
    if block.find("global_pool") == "avg":
        y = ops.apply("global_pool", torch.mean, y, (2, 3))
    return through(block, y, "head_drop", "head")


def _path(*names: str) -> tuple[str, ...]:
    return tuple(f"timm.models.iformer.{name}" for name in names)


FAMILIES = (
    Family(
        "timm iFormer Residual",
        _path("Residual"),
        residual,
        steps_fit("module", "drop_path"),
        example_shapes=maps(),
    ),
    Family("timm iFormer SHMA", _path("SHMA"), attention, _windowless, example_shapes=maps(), idle=("scale",)),
    sequence("timm iFormer mixer", _path("SHMABlock", "FFN", "ConvBlock"), "mixer"),
    Family(
        "timm iFormer RepCPE",
        _path("RepCPE"),
        lambda block, x, ops: block.cpe(x),
        _without_scale,
        deploy=in_its_place("cpe"),
        example_shapes=maps(),
    ),
    sequence("timm iFormer StageBlock", _path("StageBlock"), "downsample", "blocks"),
    sequence("timm iFormer Stem", _path("Stem"), "conv1", "act1", "conv2", "act2", "conv3"),
    Family(
        "timm iFormer",
        _path("IFormer"),
        net,
        steps_fit("stem", "stages", "head_drop", "head"),
        example_shapes=images(),
    ),
)
