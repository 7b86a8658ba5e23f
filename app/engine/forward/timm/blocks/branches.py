"""Blocks whose branches become one convolution, kept as `reparam_conv`: RepVGG (arXiv 2101.03697), MobileOne
(arXiv 2206.04040) and the large kernels of RepLKNet (arXiv 2203.06717)."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

REPARAM = "reparam_conv"


def reparam_form(*consumes: str, dropped: tuple[str, ...] = (), **flags: object) -> DeployForm:
    """One convolution as `reparam_conv`; its branches and what else is `dropped` go, `flags` are set."""

    def slots(module: Module) -> tuple[Slot, ...]:
        return () if module.child(REPARAM) is not None else (Slot(REPARAM, consumes),)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for name in (*consumes, *dropped, REPARAM, "id_tensor"):
            module.drop(name)  # `reparam_conv = None` as well, which would hide the child of that name
        module.replace_child(REPARAM, convolutions[REPARAM])
        module.state.update(flags)

    return DeployForm(slots, write)


def deployed(module: Module) -> bool:
    return module.child(REPARAM) is not None


def total(block: Block, parts: list[Any], ops: Ops) -> Any:
    """The sum of the branches."""
    if not parts:
        raise UnknownFlow(block.module.path, "structure-differs", "it has no branches")
    y = parts[0]
    for part in parts[1:]:
        y = ops.add(y, part)
    return y


def _there(block: Block, *names: str) -> Iterator[Block]:
    """The children of these names that are there, those of a list one by one."""
    for name in names:
        child = block.find(name)
        if isinstance(child, Block):
            listed = child.module.class_path == "torch.nn.modules.container.ModuleList"
            yield from child if listed else (child,)


def branched(block: Block, x: Value, ops: Ops) -> Any:
    """act(attention(the sum of identity, 1x1 and kxk branches)); figure 4 of RepVGG, figure 3 of MobileOne."""
    if deployed(block.module):
        y = block.reparam_conv(x)
    else:
        y = total(block, [branch(x) for branch in _there(block, *_BRANCHES)], ops)
    for name in ("attn", "se", "act"):
        child = block.find(name)
        y = y if child is None else child(y)
    return y


_BRANCHES = ("identity", "conv_1x1", "conv_scale", "conv_kxk")


def large_kernel(block: Block, x: Value, ops: Ops) -> Any:
    """act(se(large + small)); RepLKNet, section 3, guideline 3."""
    if deployed(block.module):
        y = block.reparam_conv(x)
    else:
        y = total(block, [branch(x) for branch in _there(block, "large_conv", "small_conv")], ops)
    for name in ("se", "act"):
        child = block.find(name)
        y = y if child is None else child(y)
    return y


def _branched_fits(module: Module) -> bool:
    return has_children(module, "act") and (deployed(module) or module.has("conv_kxk"))


FAMILIES = (
    Family(
        "timm RepVggBlock",
        ("timm.models.byobnet.RepVggBlock",),
        branched,
        lambda module: (
            has_children(module, "act") and (deployed(module) or has_children(module, "conv_kxk", "conv_1x1"))
        ),
        deploy=reparam_form("conv_kxk", "conv_1x1", "identity", dropped=("drop_path",)),
        example_shapes=maps(),
    ),
    Family(
        "timm MobileOneBlock",
        ("timm.models.byobnet.MobileOneBlock",),
        branched,
        _branched_fits,
        deploy=reparam_form("conv_kxk", "conv_scale", "identity", dropped=("drop_path",)),
        example_shapes=maps(),
    ),
    Family(
        "timm FastViT MobileOneBlock",
        ("timm.models.fastvit.MobileOneBlock",),
        branched,
        _branched_fits,
        deploy=reparam_form("conv_kxk", "conv_scale", "identity", inference_mode=True),
        example_shapes=maps(),
    ),
    Family(
        "timm ReparamLargeKernelConv",
        ("timm.models.fastvit.ReparamLargeKernelConv",),
        large_kernel,
        lambda module: deployed(module) or has_children(module, "large_conv"),
        deploy=reparam_form("large_conv", "small_conv"),
        example_shapes=maps(),
    ),
)
