"""PP-HGNet and PP-HGNetV2: every layer's output is kept and all are joined by a 1x1 convolution (VoVNet, arXiv
1904.09730, figure 2); V2 with learnable affine layers behind the activations (arXiv 2409.13741)."""

from typing import Any

import torch
import torch.nn.functional as F

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value

_STEM = ("stem1", "stem2a", "stem2b", "stem3", "stem4", "pool")


def learnable_affine(block: Block, x: Value, ops: Ops) -> Value:
    """One factor and one offset for all channels."""
    return ops.shift(ops.scale(x, block.scale), block.bias)


def gate(block: Block, x: Value, ops: Ops) -> Value:
    """x times a gate that one convolution makes of its mean; arXiv 1911.06667, section 3.3."""
    mean = ops.apply("global_pool", torch.mean, x, (2, 3), keepdim=True)
    return ops.apply("mul", torch.mul, x, block.sigmoid(block.conv(mean)))


def stem(block: Block, x: Value, ops: Ops) -> Any:
    """Two convolutions with kernels of 2 beside a pool; the class pads at the lower and right end itself."""
    x = ops.apply("pad", F.pad, block.stem1(x), (0, 1, 0, 1))
    y = block.stem2b(ops.apply("pad", F.pad, block.stem2a(x), (0, 1, 0, 1)))
    return block.stem4(block.stem3(ops.concat([block.pool(x), y])))


def joined_block(block: Block, x: Value, ops: Ops) -> Any:
    kept = [x]
    for layer in block.layers:
        kept.append(layer(kept[-1]))
    y = block.aggregation(ops.concat(kept))
    return ops.add(block.drop_path(y), x) if block.residual else y


def _path(name: str) -> tuple[str, ...]:
    return (f"timm.models.hgnet.{name}",)


FAMILIES = (
    Family(
        "timm LearnableAffineBlock",
        _path("LearnableAffineBlock"),
        learnable_affine,
        lambda module: module.tensor("scale") is not None and module.tensor("bias") is not None,
        leaf=True,
    ),
    sequence("timm HGNet ConvBNAct", _path("ConvBNAct"), "conv", "bn", "act", "lab"),
    sequence("timm HGNet LightConvBNAct", _path("LightConvBNAct"), "conv1", "conv2"),
    Family("timm HGNet EseModule", _path("EseModule"), gate, steps_fit("conv", "sigmoid"), example_shapes=maps()),
    sequence("timm HGNet StemV1", _path("StemV1"), "stem", "pool"),
    Family("timm HGNet StemV2", _path("StemV2"), stem, lambda module: has_children(module, *_STEM)),
    Family(
        "timm HighPerfGpuBlock",
        _path("HighPerfGpuBlock"),
        joined_block,
        lambda module: has_children(module, "layers", "aggregation", "drop_path") and module.has("residual"),
        example_shapes=maps(),
    ),
    sequence("timm HighPerfGpuStage", _path("HighPerfGpuStage"), "downsample", "blocks"),
    sequence(
        "timm HGNet ClassifierHead",
        _path("ClassifierHead"),
        *("global_pool", "last_conv", "dropout", "flatten", "fc"),
    ),
    sequence("timm HighPerfGpuNet", _path("HighPerfGpuNet"), "stem", "stages", "head", examples=images()),
)
