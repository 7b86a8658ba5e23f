"""ResNet (arXiv 1512.03385), ResNeXt (arXiv 1611.05431), Wide ResNet; RegNet (arXiv 2003.13678) and ShuffleNetV2
(arXiv 1807.11164)."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.torch_nn.shape import channel_shuffle
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def basic_block(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 5, left: two 3x3 convolutions beside a shortcut."""
    y = through(block, x, "conv1", "bn1", "relu", "conv2", "bn2")
    return block.relu(ops.add(y, through(block, x, "downsample?")))


def bottleneck(block: Block, x: Value, ops: Ops) -> Any:
    """Figure 5, right: 1x1, 3x3 and 1x1."""
    y = through(block, x, "conv1", "bn1", "relu", "conv2", "bn2", "relu", "conv3", "bn3")
    return block.relu(ops.add(y, through(block, x, "downsample?")))


def flattened(ops: Ops, x: Value) -> Value:
    return ops.apply("flatten", torch.flatten, x, 1)


def resnet(block: Block, x: Value, ops: Ops) -> Any:
    stem = through(block, x, "conv1", "bn1", "relu", "maxpool")
    return block.fc(flattened(ops, through(block, stem, "layer1", "layer2", "layer3", "layer4", "avgpool")))


def bottleneck_of_regnet(block: Block, x: Value, ops: Ops) -> Any:
    return block.activation(ops.add(through(block, x, "proj?"), block.f(x)))


def regnet(block: Block, x: Value, ops: Ops) -> Any:
    return block.fc(flattened(ops, through(block, x, "stem", "trunk_output", "avgpool")))


def shuffle_unit(block: Block, x: Value, ops: Ops) -> Value:
    """Figure 3, c and d: half of the channels pass, or both branches are strided; then channels are shuffled."""
    if block.stride == 1:
        passed, worked = (ops.apply("half", half, x, which) for which in (0, 1))
        joined = ops.concat([passed, block.branch2(worked)])
    else:
        joined = ops.concat([block.branch1(x), block.branch2(x)])
    return ops.apply("channel_shuffle", channel_shuffle, joined, 2)


def half(x: Tensor, which: int) -> Tensor:
    return x.chunk(2, 1)[which]


def shufflenet(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return block.fc(ops.apply("global_pool", torch.mean, y, (2, 3)))


def _named(*children: str) -> Any:
    def fits(module: Module) -> bool:
        return has_children(module, *children)

    return fits


FAMILIES = (
    Family(
        "torchvision BasicBlock",
        ("torchvision.models.resnet.BasicBlock",),
        basic_block,
        steps_fit("conv1", "bn1", "relu", "conv2", "bn2", "downsample?"),
        example_shapes=maps(),
    ),
    Family(
        "torchvision Bottleneck",
        ("torchvision.models.resnet.Bottleneck",),
        bottleneck,
        steps_fit("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "relu", "downsample?"),
        example_shapes=maps(),
    ),
    Family(
        "torchvision ResNet",
        ("torchvision.models.resnet.ResNet",),
        resnet,
        steps_fit("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"),
        example_shapes=images(),
    ),
    Family(
        "torchvision RegNet block",
        ("torchvision.models.regnet.ResBottleneckBlock",),
        bottleneck_of_regnet,
        steps_fit("proj?", "f", "activation"),
        example_shapes=maps(),
    ),
    Family(
        "torchvision RegNet",
        ("torchvision.models.regnet.RegNet",),
        regnet,
        steps_fit("stem", "trunk_output", "avgpool", "fc"),
        example_shapes=images(),
    ),
    Family(
        "torchvision ShuffleNetV2 unit",
        ("torchvision.models.shufflenetv2.InvertedResidual",),
        shuffle_unit,
        _named("branch1", "branch2"),
    ),
    Family(
        "torchvision ShuffleNetV2",
        ("torchvision.models.shufflenetv2.ShuffleNetV2",),
        shufflenet,
        steps_fit("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5", "fc"),
        example_shapes=images(),
    ),
)
