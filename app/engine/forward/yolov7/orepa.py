"""YOLOv7's RepConv_OREPA: a RepVGG block whose dense branch makes its kernel from five; arXiv 2204.00826."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.repvgg.branches import branch_slots, branches, has_branches, write_reparam
from app.engine.forward.structure import has_children, maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, expression
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

BRANCH_WEIGHTS = (
    "weight_rbr_origin",
    "weight_rbr_avg_conv",
    "weight_rbr_avg_avg",
    "weight_rbr_pfir_conv",
    "weight_rbr_prior",
    "weight_rbr_1x1_kxk_conv2",
    "weight_rbr_gconv_dw",
    "weight_rbr_gconv_pw",
    "vector",
)


def orepa_conv(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinear(bn(conv(x))), the kernel a weighted sum of linear branches; figure 3 of the paper."""
    if block.groups > 1:
        raise UnknownFlow(
            block.module.path,
            "published-class-cannot-run",
            "the published OREPA_3x3_RepConv adds a dense kernel to grouped ones: with groups > 1 it can't run",
        )
    padding = [(p, p) for p in _pair(block.padding)]
    kernel, stride, dilation = generated_kernel(block), _pair(block.stride), _pair(block.dilation)
    y = ops.conv(x, kernel, stride=stride, padding=padding, dilation=dilation)
    return block.nonlinear(block.bn(y))


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def generated_kernel(block: Block) -> Const:
    """The kernel of all five branches (out, in, k, k), as one expression over the stored tensors."""
    parts = [getattr(block, name) for name in BRANCH_WEIGHTS]
    if block.has("weight_rbr_1x1_kxk_idconv1"):
        return expression(_kernel_near_identity, block.weight_rbr_1x1_kxk_idconv1, block.id_tensor, *parts)
    return expression(_kernel, block.weight_rbr_1x1_kxk_conv1, *parts)


def _kernel_near_identity(difference: Tensor, identity: Tensor, *parts: Tensor) -> Tensor:
    """The 1x1 before the kxk is stored as its difference from the identity."""
    return _kernel(difference + identity, *parts)


def _kernel(
    reduced: Tensor,  # (middle, in, 1, 1)
    origin: Tensor,  # (out, in, k, k)
    averaged: Tensor,  # (out, in, 1, 1), a 1x1 before an average pool
    window: Tensor,  # (k, k), the average pool
    filtered: Tensor,  # (out, in, 1, 1), a 1x1 before a fixed frequency filter
    prior: Tensor,  # (out, k, k), that filter
    spatial: Tensor,  # (out, middle, k, k), after the 1x1
    depthwise: Tensor,  # (in * ratio, 1, k, k)
    pointwise: Tensor,  # (out, in * ratio, 1, 1), after the depthwise
    strengths: Tensor,  # (5 or more, out), a factor per branch and channel
) -> Tensor:
    inputs = reduced.shape[1]
    expanded = torch.unflatten(depthwise.squeeze(1), 0, (inputs, -1))
    gathered = torch.unflatten(pointwise.flatten(1), 1, (inputs, -1))
    separable = torch.einsum("irhw,oir->oihw", expanded, gathered)
    sequence = torch.einsum("mi,omhw->oihw", reduced.flatten(1), spatial)
    kernels = (origin, averaged * window, filtered * prior.unsqueeze(1), sequence, separable)
    total = torch.zeros_like(origin)
    for strength, kernel in zip(strengths, kernels, strict=False):
        total = total + strength.reshape(-1, 1, 1, 1) * kernel
    return total


def conv_bn(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinear(bn(conv(x))); deployed without bn."""
    y = block.conv(x)
    if block.has("bn"):
        y = block.bn(y)
    return block.nonlinear(y)


def conv_bn_slots(module: Module) -> tuple[Slot, ...]:
    return (Slot("conv", ("conv", "bn")),) if module.has("bn") else ()


def write_conv_bn(module: Module, convolutions: Mapping[str, Any]) -> None:
    """The class's own deployed form: its forward asks whether there is a bn, and no loader fuses it."""
    module.replace_child("conv", convolutions["conv"])
    module.drop("bn")


def rep_conv_orepa(block: Block, x: Value, ops: Ops) -> Any:
    return block.nonlinearity(block.se(branches(block, x, ops)))


FAMILIES = (
    Family(
        "YOLOv7 RepConv_OREPA",
        ("models.common.RepConv_OREPA",),
        rep_conv_orepa,
        lambda module: has_children(module, "nonlinearity", "se") and has_branches(module),
        deploy=DeployForm(branch_slots, write_reparam),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 OREPA_3x3_RepConv",
        ("models.common.OREPA_3x3_RepConv",),
        orepa_conv,
        lambda module: has_children(module, "bn", "nonlinear") and all(module.has(n) for n in BRANCH_WEIGHTS),
        example_shapes=maps(),
    ),
    Family(
        "YOLOv7 ConvBN",
        ("models.common.ConvBN",),
        conv_bn,
        lambda module: has_children(module, "conv", "nonlinear") and only_children(module, "conv", "bn", "nonlinear"),
        deploy=DeployForm(conv_bn_slots, write_conv_bn),
        example_shapes=maps(),
    ),
)
