"""torchvision's layers (torchvision.ops), under the names that they have had."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.steps import through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.layers.attention import averaged, gated
from app.engine.forward.timm.layers.norm import layer_norm_2d
from app.engine.forward.torch_nn.activation import identity
from app.engine.forward.torch_nn.arguments import batch_norm_fits
from app.engine.forward.torch_nn.container import sequential
from app.engine.forward.torch_nn.normalization import batch_norm
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

# Subclasses of torch.nn.Sequential that have no forward of their own.
_SEQUENTIALS = (
    *(f"torchvision.ops.misc.{name}" for name in ("Conv2dNormActivation", "ConvNormActivation", "MLP")),
    "torchvision.models.mobilenet.ConvBNReLU",
    *(f"torchvision.models.mobilenetv2.{name}" for name in ("ConvBNReLU", "ConvBNActivation")),
    *(
        f"torchvision.models.regnet.{name}"
        for name in ("SimpleStemIN", "BottleneckTransform", "AnyStage", "ResBottleneckGroup")
    ),
    "torchvision.models.densenet._Transition",
)


def squeeze_excitation(block: Block, x: Value, ops: Ops) -> Value:
    """x times a gate of two 1x1 convolutions of its mean; arXiv 1709.01507, figure 3."""
    return gated(ops, x, through(block, averaged(ops, x), "fc1", "activation", "fc2", "scale_activation"))


def mobilenet_squeeze_excitation(block: Block, x: Value, ops: Ops) -> Value:
    """As the first MobileNetV3 of the package had it: the gate is a hard sigmoid, written in its forward."""
    squeezed = through(block, averaged(ops, x), "fc1", "relu", "fc2")
    return gated(ops, x, ops.pointwise("Hardsigmoid", torch.nn.functional.hardsigmoid, squeezed))


def permute(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("permute", permuted, x, tuple(block.dims))


def permuted(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.permute(dims)


def _dims_fit(module: Module) -> bool:
    dims = module.attribute("dims", None)
    return isinstance(dims, (list, tuple)) and sorted(map(str, dims)) == [str(at) for at in range(len(dims))]


def conv_bn_relu(block: Block, x: Any, ops: Ops) -> Any:
    """relu(bn(conv(x))), the activation written in its forward."""
    return rectified(ops, block.bn(block.conv(x)))


def rectified(ops: Ops, x: Value) -> Value:
    return ops.pointwise("ReLU", torch.relu, x)


FAMILIES = (
    Family("torchvision Sequential", _SEQUENTIALS, sequential, example_shapes=maps()),
    Family(
        "torchvision SqueezeExcitation",
        ("torchvision.ops.misc.SqueezeExcitation",),
        squeeze_excitation,
        lambda module: has_children(module, "fc1", "activation", "fc2", "scale_activation"),
        idle=("avgpool",),
    ),
    Family(
        "torchvision MobileNetV3 SqueezeExcitation",
        ("torchvision.models.mobilenetv3.SqueezeExcitation",),
        mobilenet_squeeze_excitation,
        lambda module: has_children(module, "fc1", "relu", "fc2"),
    ),
    Family(
        "torchvision FrozenBatchNorm2d",
        ("torchvision.ops.misc.FrozenBatchNorm2d",),
        batch_norm,
        batch_norm_fits,
        example_shapes=maps(),
        leaf=True,
    ),
    Family("torchvision Permute", ("torchvision.ops.misc.Permute",), permute, _dims_fit),
    Family(
        "torchvision LayerNorm2d",
        ("torchvision.models.convnext.LayerNorm2d",),
        layer_norm_2d,
    ),
    Family(
        "torchvision StochasticDepth",
        ("torchvision.ops.stochastic_depth.StochasticDepth",),
        identity,
        leaf=True,
        idle=("p",),
    ),
    Family(
        "torchvision BasicConv2d",
        tuple(f"torchvision.models.{file}.BasicConv2d" for file in ("googlenet", "inception")),
        conv_bn_relu,
        lambda module: has_children(module, "conv", "bn"),
        example_shapes=maps(),
    ),
)
