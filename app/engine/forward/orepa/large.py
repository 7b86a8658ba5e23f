"""OREPA's large kernels, grown from a chain of 3x3 ones; arXiv 2204.00826."""

from functools import partial
from typing import Any

from torch import Tensor

from app.engine.forward.family import Family, Members
from app.engine.forward.orepa.block import convolved, counts_fit, deploy_form
from app.engine.forward.orepa.kernels import grown
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

_SLOT = "or_large_reparam"
_ATTRIBUTES = ("kernel_size", "in_channels", "out_channels", "groups", "stride", "padding", "dilation", "layers")
_MOST_LAYERS = 32


def large_conv(block: Block, x: Value, ops: Ops) -> Any:
    """nonlinear(bn(conv(x))), the kernel grown from `weight0`, `weight1` ...: tensors, or blocks that make them."""
    if block.find(_SLOT) is not None:
        return block.nonlinear(getattr(block, _SLOT)(x))
    parts = [_kernel_of(getattr(block, name)) for name in _weights(block.module)]
    kernel = expression(partial(_grown, block.groups), *parts)
    return block.nonlinear(block.bn(convolved(block, x, kernel, ops)))


def _kernel_of(part: Any) -> Const:
    kernel: Const = part() if isinstance(part, Block) else part
    return kernel


def _grown(groups: int, *kernels: Tensor) -> Tensor:
    return grown(kernels, groups)


def _weights(module: Module) -> tuple[str, ...]:
    return tuple(f"weight{number}" for number in range(module.attribute("layers")))


def _fits(module: Module) -> bool:
    if not has_children(module, "nonlinear") or not counts_fit(module, "groups", "layers"):
        return False
    if module.child(_SLOT) is not None:
        return True
    few = module.attribute("layers") <= _MOST_LAYERS
    return few and has_children(module, "bn") and all(map(module.has, _weights(module)))


FAMILIES = tuple(
    Family(
        f"OREPA {name}",
        (f"blocks.{name}",),
        large_conv,
        _fits,
        deploy=deploy_form(_SLOT, _weights),
        example_shapes=maps(),
        members=Members(
            ("nonlinear", *_ATTRIBUTES), ("bn", _SLOT, *(f"weight{number}" for number in range(_MOST_LAYERS)))
        ),
    )
    for name in ("OREPA_LargeConvBase", "OREPA_LargeConv")
)
