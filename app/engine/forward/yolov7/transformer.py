"""YOLOv7's vision transformer block and its classification head."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def transformer_layer(block: Block, tokens: Value, ops: Ops) -> Value:
    """Attention and two Linear layers, each with a shortcut, without normalisation; arXiv 2010.11929, figure 1."""
    attended, _ = block.ma(block.q(tokens), block.k(tokens), block.v(tokens))
    tokens = ops.add(attended, tokens)
    return ops.add(block.fc2(block.fc1(tokens)), tokens)


def transformer_block(block: Block, x: Value, ops: Ops) -> Value:
    """Pixels as tokens, a learned position term, then transformer layers."""
    if block.conv is not None:
        x = block.conv(x)
    pixels = ops.apply("tokens", tokens_of, x)
    tokens = block.tr(ops.add(pixels, block.linear(pixels)))
    return ops.apply("pixels", pixels_of, tokens, x.shape[2], x.shape[3])


def tokens_of(x: Tensor) -> Tensor:
    """(n, c, h, w) to (h * w, n, c)."""
    return x.flatten(2).permute(2, 0, 1)


def pixels_of(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `tokens_of`."""
    return torch.unflatten(tokens.permute(1, 2, 0), 2, (height, width))


def classify(block: Block, x: Any, ops: Ops) -> Any:
    """Global average pool, a convolution, flat; several maps are pooled one by one and joined."""
    pooled = [block.aap(part) for part in (x if isinstance(x, list) else [x])]
    return block.flat(block.conv(ops.concat(pooled) if len(pooled) > 1 else pooled[0]))


def weighted_sum(block: Block, parts: Any, ops: Ops) -> Value:
    """The sum of several maps, each but the first with a learned factor; arXiv 1911.09070, section 3.3."""
    total: Value = parts[0]
    for i, part in enumerate(parts[1:]):
        if block.weight:
            part = ops.pointwise("weighted", weighted, part, block.w, i)
        total = ops.add(total, part)
    return total


def weighted(x: Tensor, weights: Tensor, which: int) -> Tensor:
    return x * (torch.sigmoid(weights[which]) * 2)


FAMILIES = (
    Family(
        "YOLOv7 TransformerLayer",
        ("models.common.TransformerLayer",),
        transformer_layer,
        lambda module: has_children(module, "q", "k", "v", "ma", "fc1", "fc2") and not module.has("ln1"),
    ),
    Family(
        "YOLOv7 TransformerBlock",
        ("models.common.TransformerBlock",),
        transformer_block,
        lambda module: has_children(module, "linear", "tr") and module.has("conv"),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 Classify",
        ("models.common.Classify",),
        classify,
        lambda module: has_children(module, "aap", "conv", "flat") and not module.has("linear"),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 Sum",
        ("models.experimental.Sum",),
        weighted_sum,
        lambda module: module.has("weight") and module.has("iter"),
    ),
)
