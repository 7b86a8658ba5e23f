"""OREPA as published: one convolution whose kernel is made of linear branches, and a norm; arXiv 2204.00826."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.orepa import kernels
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, expression
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

_GEOMETRY = ("kernel_size", "in_channels", "out_channels", "groups", "stride", "padding", "dilation")
POINTWISE = ("weight_or1x1_origin", "weight_or1x1_l2i_conv1", "weight_or1x1_l2i_conv2", "vector")
_AVERAGE = ("weight_orepa_avg_conv", "weight_orepa_avg_avg")
_FILTER = ("weight_orepa_pfir_conv", "weight_orepa_prior")
_SEQUENCE = ("weight_orepa_1x1_kxk_idconv1", "id_tensor", "weight_orepa_1x1_kxk_conv2")
_CENTRE = "weight_orepa_1x1"
_SEPARABLE = ("weight_orepa_gconv_dw", "weight_orepa_gconv_pw")
WEIGHTS = ("weight_orepa_origin", *_AVERAGE, *_FILTER, *_SEQUENCE, _CENTRE, *_SEPARABLE, "vector")


def orepa_1x1(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinear(bn(conv(x))) of two branches; deployed one 1x1 convolution."""
    if block.find("or1x1_reparam") is not None:
        return block.nonlinear(block.or1x1_reparam(x))
    kernel = expression(kernels.pointwise_kernel, *(getattr(block, name) for name in POINTWISE))
    return block.nonlinear(block.bn(convolved(block, x, kernel, ops)))


def orepa(block: Block, x: Any, ops: Ops) -> Any:
    """nonlinear(bn(conv(x))) of six branches, figure 3 of the paper; called without a map it gives its kernel."""
    if block.find("orepa_reparam") is not None:
        return block.nonlinear(block.orepa_reparam(x))
    kernel = generated_kernel(block)
    if x == ():
        return kernel
    if block.weight_only:
        raise UnknownFlow(block.module.path, "structure-differs", "it makes a kernel for another block, and no map")
    return block.nonlinear(block.bn(convolved(block, x, kernel, ops)))


def generated_kernel(block: Block) -> Const:
    """The kernel of all branches, (out, in / groups, k, k)."""
    generate = partial(_kernel, block.in_channels, block.groups, block.kernel_size)
    return expression(generate, *(getattr(block, name) for name in WEIGHTS))


def _kernel(
    channels: int,
    groups: int,
    size: int,
    origin: Tensor,
    average: Tensor,
    window: Tensor,
    filtering: Tensor,
    prior: Tensor,
    difference: Tensor,
    identity: Tensor,
    spatial: Tensor,
    centre: Tensor,
    depthwise: Tensor,
    pointwise: Tensor,
    strengths: Tensor,
) -> Tensor:
    return kernels.weighted(
        strengths,
        (
            origin,
            kernels.averaged(average, window),
            kernels.filtered(filtering, prior),
            kernels.sequential(difference + identity, spatial, groups),
            kernels.centred(centre, size),
            kernels.separable(depthwise, pointwise, channels, groups),
        ),
    )


def convolved(block: Block, x: Value, kernel: Const, ops: Ops) -> Value:
    """The convolution of the block's geometry with a generated kernel."""
    stride, padding, dilation = (_pair(getattr(block, name)) for name in ("stride", "padding", "dilation"))
    sides = tuple((side, side) for side in padding)
    return ops.conv(x, kernel, stride=stride, padding=sides, dilation=dilation, groups=block.groups)


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def deploy_form(slot: str, consumes: Callable[[Module], tuple[str, ...]]) -> DeployForm:
    """As `switch_to_deploy` leaves the block: the convolution under `slot`, no branch and no norm."""

    def slots(module: Module) -> tuple[Slot, ...]:
        return () if module.child(slot) is not None else (Slot(slot, (*consumes(module), "bn")),)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for name in (*consumes(module), "bn"):
            module.drop(name)
        module.replace_child(slot, convolutions[slot])

    return DeployForm(slots, write)


def counts_fit(module: Module, *names: str) -> bool:
    """Whether these attributes are positive whole numbers."""
    values = [module.attribute(name, None) for name in names]
    return all(type(value) is int and value > 0 for value in values)


def _orepa_fits(module: Module) -> bool:
    weights = all(module.tensor(name) is not None for name in WEIGHTS)
    norm = module.attribute("weight_only", False) is True or has_children(module, "bn")
    trained = weights and norm and counts_fit(module, "in_channels", "groups", "kernel_size")
    return has_children(module, "nonlinear") and (trained or has_children(module, "orepa_reparam"))


def _pointwise_fits(module: Module) -> bool:
    trained = has_children(module, "bn") and all(module.tensor(name) is not None for name in POINTWISE)
    return has_children(module, "nonlinear") and (trained or has_children(module, "or1x1_reparam"))


FAMILIES = (
    Family(
        "OREPA OREPA_1x1",
        ("blocks.OREPA_1x1",),
        orepa_1x1,
        _pointwise_fits,
        deploy=deploy_form("or1x1_reparam", lambda module: POINTWISE),
        example_shapes=maps(),
        members=Members(("nonlinear", "deploy", *_GEOMETRY), (*POINTWISE, "bn", "branch_counter", "or1x1_reparam")),
    ),
    Family(
        "OREPA OREPA",
        ("blocks.OREPA",),
        orepa,
        _orepa_fits,
        deploy=deploy_form("orepa_reparam", lambda module: WEIGHTS),
        example_shapes=maps(),
        members=Members(
            ("nonlinear", "deploy", "weight_only", *_GEOMETRY), (*WEIGHTS, "bn", "branch_counter", "orepa_reparam")
        ),
    ),
)
