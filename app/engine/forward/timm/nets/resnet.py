"""timm's ResNet (arXiv 1512.03385) with its many variants, and VGG (arXiv 1409.1556)."""

from typing import Any

import torch.nn.functional as F

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import residual, sequence, steps_fit, through
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def _paths(name: str) -> tuple[str, ...]:
    return (f"timm.models.resnet.{name}",)


def wide_head(block: Block, x: Value, ops: Ops) -> Any:
    """VGG's first two fully connected layers as convolutions; a map that is too small for them is stretched."""
    least = block.input_kernel_size
    sizes = tuple(max(least, size) for size in x.shape[2:])
    if sizes != x.shape[2:]:
        x = ops.apply("adaptive_avg_pool", F.adaptive_avg_pool2d, x, sizes)
    return through(block, x, "fc1", "act1", "drop", "fc2", "act2")


FAMILIES = (
    residual(
        "timm ResNet BasicBlock",
        _paths("BasicBlock"),
        *("conv1", "bn1", "drop_block?", "act1", "aa?", "conv2", "bn2", "se?", "drop_path?"),
        shortcut="downsample",
        after=("act2",),
    ),
    residual(
        "timm ResNet Bottleneck",
        _paths("Bottleneck"),
        *("conv1", "bn1", "act1", "conv2", "bn2", "drop_block?", "act2", "aa?", "conv3", "bn3", "se?", "drop_path?"),
        shortcut="downsample",
        after=("act3",),
    ),
    sequence(
        "timm ResNet",
        _paths("ResNet"),
        *("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4", "global_pool", "fc"),
        examples=images(),
    ),
    Family(
        "timm VGG ConvMlp",
        ("timm.models.vgg.ConvMlp",),
        wide_head,
        steps_fit("fc1", "act1", "drop", "fc2", "act2"),
    ),
    sequence("timm VGG", ("timm.models.vgg.VGG",), "features", "pre_logits", "head", examples=images()),
)
