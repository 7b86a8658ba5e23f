"""YOLOv5's cross-stage-partial and ghost blocks, its mask prototypes and its classification head.

Conv, DWConv, Focus, GhostConv, Bottleneck, SPP, SPPF and the transformer block are described with YOLOv7, which has
them under the same paths.
"""

from collections.abc import Callable
from typing import Any

import torch

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.torch_nn.arguments import transposed_convolution_fits
from app.engine.forward.torch_nn.convolution import transposed_convolution
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov5.bottleneck_csp import CHILDREN, DEPLOY, bottleneck_csp
from app.engine.forward.yolov7.conv import ghost
from app.engine.forward.yolov7.csp import csp_a
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def mixed_conv(block: Block, x: Value, ops: Ops) -> Any:
    """Convolutions of several kernel sizes side by side, normalised together; arXiv 1907.09595."""
    return block.act(block.bn(ops.concat([branch(x) for branch in block.m])))


def prototypes(block: Block, x: Value, ops: Ops) -> Any:
    """Mask prototypes at twice the resolution; YOLACT, arXiv 1904.02689, figure 3."""
    return block.cv3(block.cv2(block.upsample(block.cv1(x))))


def logits(block: Block, x: Any, ops: Ops) -> Any:
    """A convolution, the global average, and one Linear; several maps are joined first."""
    joined = ops.concat(x) if isinstance(x, (list, tuple)) else x
    pooled = block.pool(block.conv(joined))
    return block.linear(block.drop(ops.apply("flatten", torch.flatten, pooled, 1)))


def classify_fits(module: Module) -> bool:
    return has_children(module, "conv", "pool", "drop", "linear")


def _has(*children: str) -> Callable[[Module], bool]:
    return lambda module: has_children(module, *children)


def _families(
    describe: Describe, children: tuple[str, ...], *names: str, multiple: int = 1, **more: Any
) -> tuple[Family, ...]:
    return tuple(
        Family(
            f"YOLOv5 {name}",
            (f"models.common.{name}",),
            describe,
            _has(*children),
            example_shapes=maps(multiple),
            **more,
        )
        for name in names
    )


def _mixes_without_shortcut(module: Module) -> bool:
    """The first versions, with LeakyReLU, add their input."""
    activation = module.child("act")
    return activation is not None and activation.class_path.endswith(".SiLU") and has_children(module, "m", "bn")


FAMILIES = (
    *_families(csp_a, ("cv1", "cv2", "cv3", "m"), "C3", "C3x", "C3TR", "C3SPP", "C3Ghost"),
    *_families(bottleneck_csp, CHILDREN, "BottleneckCSP", deploy=DEPLOY),
    *_families(ghost, ("conv", "shortcut"), "GhostBottleneck", multiple=2),
    *_families(prototypes, ("cv1", "upsample", "cv2", "cv3"), "Proto"),
    Family(
        "YOLOv5 Classify",
        ("models.common.Classify",),
        logits,
        classify_fits,
        example_shapes=maps(),
    ),
    Family(
        "YOLOv5 MixConv2d",
        ("models.experimental.MixConv2d",),
        mixed_conv,
        _mixes_without_shortcut,
        example_shapes=maps(),
    ),
    Family(
        "YOLOv5 DWConvTranspose2d",
        ("models.common.DWConvTranspose2d",),
        transposed_convolution,
        transposed_convolution_fits,
        defaults={"padding_mode": "zeros", "groups": 1},
        example_shapes=maps(),
    ),
)
