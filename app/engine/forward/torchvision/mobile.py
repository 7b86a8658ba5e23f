"""MobileNetV2 (arXiv 1801.04381) and V3 (arXiv 1905.02244), MNASNet (arXiv 1807.11626), EfficientNet (arXiv
1905.11946, 2104.00298)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import steps_fit, through
from app.engine.forward.structure import maps
from app.engine.forward.torchvision.resnet import flattened
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def _residual(name: str, paths: tuple[str, ...], flag: str, *steps: str) -> Family:
    """A block that adds its input where `flag` says so."""

    def describe(block: Block, x: Value, ops: Ops) -> Any:
        y = through(block, x, *steps)
        return ops.add(x, y) if getattr(block, flag) else y

    return Family(f"torchvision {name}", paths, describe, steps_fit(*steps), example_shapes=maps())


def mobilenet_v2(block: Block, x: Value, ops: Ops) -> Any:
    return block.classifier(ops.apply("global_pool", pooled, block.features(x)))


def pooled(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)


def pooled_net(block: Block, x: Value, ops: Ops) -> Any:
    """classifier(flatten(avgpool(features(x))))"""
    return block.classifier(flattened(ops, through(block, x, "features", "avgpool")))


def mnasnet(block: Block, x: Value, ops: Ops) -> Any:
    return block.classifier(ops.apply("global_pool", torch.mean, block.layers(x), (2, 3)))


FAMILIES = (
    _residual(
        "MobileNetV2 block",
        tuple(f"torchvision.models.{file}.InvertedResidual" for file in ("mobilenetv2", "mobilenet")),
        "use_res_connect",
        "conv",
    ),
    _residual("MobileNetV3 block", ("torchvision.models.mobilenetv3.InvertedResidual",), "use_res_connect", "block"),
    _residual("MNASNet block", ("torchvision.models.mnasnet._InvertedResidual",), "apply_residual", "layers"),
    _residual(
        "EfficientNet block",
        tuple(f"torchvision.models.efficientnet.{name}" for name in ("MBConv", "FusedMBConv")),
        "use_res_connect",
        *("block", "stochastic_depth"),
    ),
    Family(
        "torchvision MobileNetV2",
        tuple(f"torchvision.models.{file}.MobileNetV2" for file in ("mobilenetv2", "mobilenet")),
        mobilenet_v2,
        steps_fit("features", "classifier"),
        example_shapes=images(),
    ),
    Family(
        "torchvision network of features, pool and classifier",
        (
            "torchvision.models.mobilenetv3.MobileNetV3",
            "torchvision.models.efficientnet.EfficientNet",
            "torchvision.models.vgg.VGG",
            "torchvision.models.alexnet.AlexNet",
        ),
        pooled_net,
        steps_fit("features", "avgpool", "classifier"),
        example_shapes=images(),
    ),
    Family(
        "torchvision MNASNet",
        ("torchvision.models.mnasnet.MNASNet",),
        mnasnet,
        steps_fit("layers", "classifier"),
        example_shapes=images(),
        idle=("alpha",),  # how wide it was built
    ),
)
