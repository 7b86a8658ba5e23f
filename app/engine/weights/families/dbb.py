"""DBB (arXiv 2103.13425): four branches of up to three linear layers around one convolution."""

from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.identity import identity_kernel
from app.engine.weights.families.layers import (
    IDENTITY,
    SEQUENTIAL,
    branch,
    convolve,
    groups_of,
    layer,
    normalise,
    order,
    weight_of,
)

_MODULE = "diversebranchblock"
_POOL = ("torch.nn.modules.pooling", "AvgPool2d")


def _is_block(module: Module) -> bool:
    return module.child("dbb_origin") is not None


def _has(block: Module, path: str) -> bool:
    above, _, name = path.rpartition(".")
    holder = block.child(above)
    return holder is not None and holder.child(name) is not None


def _parts(block: Module) -> Parts:
    """Depthwise blocks have no 1x1 branch, and no convolution before their pool."""
    dense = block.child("dbb_1x1") is not None or _has(block, "dbb_avg.conv")
    norms = ["dbb_origin.bn", "dbb_avg.avgbn", "dbb_1x1_kxk.bn1.bn", "dbb_1x1_kxk.bn2"]
    plain = ["dbb_origin.conv", _inner(block), "dbb_1x1_kxk.conv2"]
    if dense:
        norms += ["dbb_avg.bn.bn", "dbb_1x1.bn"]
        plain += ["dbb_avg.conv", "dbb_1x1.conv"]
    return Parts(norms, plain)


def _inner(block: Module) -> str:
    """The 1x1 convolution of the last branch: one that starts as the identity, unless it widens."""
    return "dbb_1x1_kxk.conv1" if _has(block, "dbb_1x1_kxk.conv1") else "dbb_1x1_kxk.idconv1"


def _dress(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "dbb_origin.conv"))
    groups = groups_of(weight, _incoming(block, setting))
    channels = weight.shape[0]
    branch(block, "dbb_origin", groups, setting.eps, channels)
    padding = weight.shape[2] // 2
    if block.child("dbb_1x1") is not None:
        branch(block, "dbb_1x1", groups, setting.eps, channels)
    _average(block, groups, channels, weight.shape[2], setting.eps)
    _widening(block, groups, channels, padding, setting.eps)
    add_child(block, "nonlinear", IDENTITY)
    dress(
        block,
        (_MODULE, "DiverseBranchBlock"),
        deploy=False,
        kernel_size=weight.shape[2],
        out_channels=channels,
        groups=groups,
    )
    return channels


def _incoming(block: Module, setting: Setting) -> int | None:
    """An identity-based 1x1 convolution puts out as many channels as the block takes in."""
    inner = _inner(block)
    return weight_of(layer(block, inner)).shape[0] if inner.endswith("idconv1") else setting.incoming


def _average(block: Module, groups: int, channels: int, kernel: int, eps: float) -> None:
    """1x1 convolution, norm, average over the kernel's window, norm; what pads stands before the pool."""
    sequence = layer(block, "dbb_avg")
    padding = kernel // 2
    dense = sequence.child("conv") is not None
    if dense:
        convolve(layer(sequence, "conv"), groups)
        _padded_norm(layer(sequence, "bn"), padding, channels, eps)
    add_child(sequence, "avg", _POOL, kernel_size=kernel, stride=1, padding=0 if dense else padding)
    normalise(layer(sequence, "avgbn"), eps, channels)
    order(sequence, "conv", "bn", "avg", "avgbn")
    dress(sequence, SEQUENTIAL)


def _widening(block: Module, groups: int, channels: int, padding: int, eps: float) -> None:
    """1x1 convolution, norm, kxk convolution, norm; the kxk convolution pads nothing itself."""
    sequence = layer(block, "dbb_1x1_kxk")
    first = layer(block, _inner(block))
    convolve(first, groups)
    width = weight_of(first).shape[0]
    if first.path.endswith("idconv1"):
        first.state["id_tensor"] = identity_kernel(weight_of(first))
        dress(first, (_MODULE, "IdentityBasedConv1x1"))
    _padded_norm(layer(sequence, "bn1"), padding, width, eps)
    convolve(layer(sequence, "conv2"), groups, padding=(0, 0))
    normalise(layer(sequence, "bn2"), eps, channels)
    order(sequence, "idconv1", "conv1", "bn1", "conv2", "bn2")
    dress(sequence, SEQUENTIAL)


def _padded_norm(module: Module, padding: int, channels: int, eps: float) -> None:
    normalise(layer(module, "bn"), eps, channels)
    dress(module, (_MODULE, "BNAndPadLayer"), pad_pixels=padding)


FORM = FamilyForm("dbb", "DBB", (BlockForm(_is_block, _parts, _dress),), holding("dbb_reparam"))
