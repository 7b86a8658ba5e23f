"""OREPA (arXiv 2204.00826): the kernel of one convolution made of several linear branches, then a norm."""

from collections.abc import Callable

from app.engine.forward.orepa.block import POINTWISE, WEIGHTS
from app.engine.forward.yolov7.orepa import BRANCH_WEIGHTS
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families import dbb
from app.engine.weights.families.conv_norm import CONV_NORM
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting, holding
from app.engine.weights.families.layers import IDENTITY, conv_bn, layer, misshapen, normalise

_MODULE = "blocks"
_EXPANSION = 8  # how many channels the depthwise branch makes of each, in all published code
_ORIGIN = "weight_orepa_origin"
_KERNEL = (*WEIGHTS, "id_tensor")
_DENSE = "rbr_dense"
_DENSE_KERNEL = (*BRANCH_WEIGHTS, "weight_rbr_1x1_kxk_idconv1", "id_tensor")


def _held(block: Module, name: str, rank: int = 4) -> StoredTensor:
    """A tensor of so many dimensions. Raises ArchitectureMismatch."""
    stored = block.tensor(name)
    if stored is None or len(stored.shape) != rank or 0 in stored.shape:
        raise misshapen(block, name, f"of {rank} dimensions")
    return stored


def _geometry(block: Module, class_path: tuple[str, str], incoming: int, groups: int, weight: tuple[int, ...]) -> None:
    """What the classes keep of their constructor's arguments; strides are not in the file, and don't matter here."""
    add_child(block, "nonlinear", IDENTITY)
    dress(
        block,
        class_path,
        deploy=False,
        in_channels=incoming,
        out_channels=weight[0],
        kernel_size=weight[2],
        groups=groups,
        stride=1,
        padding=weight[2] // 2,
        dilation=1,
    )


def _with(name: str) -> Callable[[Module], bool]:
    return lambda module: module.tensor(name) is not None


def _pointwise_parts(block: Module) -> Parts:
    return Parts(norms=("bn",), plain=(), more=POINTWISE)


def _dress_pointwise(block: Module, setting: Setting) -> int:
    weight = _held(block, POINTWISE[0])
    _geometry(block, (_MODULE, "OREPA_1x1"), weight.shape[1], 1, weight.shape)
    normalise(layer(block, "bn"), setting.eps, weight.shape[0])
    return weight.shape[0]


def _parts(block: Module) -> Parts:
    return Parts(norms=("bn",), plain=(), more=_KERNEL)


def _dress(block: Module, setting: Setting) -> int:
    channels = _dress_kernel(block, alone=False)
    normalise(layer(block, "bn"), setting.eps, channels)
    return channels


def _dress_kernel(block: Module, alone: bool) -> int:
    """A block that makes a kernel; `alone` of one that makes it for another."""
    weight = _held(block, _ORIGIN)
    incoming = _held(block, "weight_orepa_gconv_dw").shape[0] // _EXPANSION
    groups = _groups(block, _ORIGIN, weight, incoming)
    _geometry(block, (_MODULE, "OREPA"), incoming, groups, weight.shape)
    block.state["weight_only"] = alone
    return weight.shape[0]


def _groups(block: Module, name: str, weight: StoredTensor, incoming: int) -> int:
    if not incoming or incoming % weight.shape[1]:
        raise misshapen(block, name, f"a part of {incoming} channels wide")
    return incoming // weight.shape[1]


def _is_large(module: Module) -> bool:
    first = module.child("weight0")
    return _with("weight0")(module) or (first is not None and _with(_ORIGIN)(first))


def _layers(block: Module) -> list[str]:
    """`weight0`, `weight1` ...: tensors, or blocks that make them."""
    held = {*block.table("_parameters"), *(name for name, _ in block.children())}
    count = 0
    while f"weight{count}" in held:
        count += 1
    return [f"weight{number}" for number in range(count)]


def _large_parts(block: Module) -> Parts:
    names = _layers(block)
    made = block.child("weight0") is not None
    more = [f"{name}.{part}" for name in names for part in _KERNEL] if made else names
    return Parts(norms=("bn",), plain=(), more=more)


def _dress_large(block: Module, setting: Setting) -> int:
    """Kernels of 3x3, each of which widens the last by one tap on every side; all but the first keep the width."""
    names = _layers(block)
    made = [block.child(name) for name in names]
    for inner in made:
        if inner is not None:
            _dress_kernel(inner, alone=True)
    first, last = (
        _held(layer(block, name), _ORIGIN) if block.child(name) is not None else _held(block, name)
        for name in (names[0], names[-1])
    )
    channels = first.shape[0]
    groups = _groups(block, names[-1], last, channels) if len(names) > 1 else 1
    kind = "OREPA_LargeConv" if made[0] is not None else "OREPA_LargeConvBase"
    grown = (channels, first.shape[1], 2 * len(names) + 1)
    _geometry(block, (_MODULE, kind), first.shape[1] * groups, groups, grown)
    block.drop("deploy")  # these classes tell by `or_large_reparam` that they are deployed
    block.state["layers"] = len(names)
    normalise(layer(block, "bn"), setting.eps, channels)
    return channels


def _is_repvgg(module: Module) -> bool:
    dense = module.child(_DENSE)
    return dense is not None and _with("weight_rbr_origin")(dense)


def _repvgg_parts(block: Module) -> Parts:
    identity = ["rbr_identity"] if block.child("rbr_identity") is not None else []
    return Parts(
        norms=(f"{_DENSE}.bn", "rbr_1x1.bn", *identity),
        plain=("rbr_1x1.conv",),
        more=[f"{_DENSE}.{name}" for name in _DENSE_KERNEL],
    )


def _dress_repvgg(block: Module, setting: Setting) -> int:
    dense, beside = layer(block, _DENSE), layer(block, "rbr_1x1")
    weight = _held(dense, "weight_rbr_origin")
    incoming = _held(dense, "weight_rbr_gconv_dw").shape[0] // _EXPANSION
    groups = _groups(dense, "weight_rbr_origin", weight, incoming)
    _geometry(dense, ("blocks_repvgg", "OREPA_3x3_RepVGG"), incoming, groups, weight.shape)
    normalise(layer(dense, "bn"), setting.eps, weight.shape[0])
    _dress_conv_bn(beside, setting, groups)
    identity = block.child("rbr_identity")
    if identity is not None:
        normalise(identity, setting.eps, weight.shape[0])
    else:
        block.table("_modules")["rbr_identity"] = None
    add_child(block, "nonlinearity", IDENTITY)
    add_child(block, "se", IDENTITY)
    dress(block, ("blocks_repvgg", "RepVGGBlock_OREPA"), deploy=False, groups=groups, in_channels=incoming)
    return weight.shape[0]


def _dress_conv_bn(block: Module, setting: Setting, groups: int = 1) -> int:
    channels = conv_bn(block, groups, setting.eps)
    add_child(block, "nonlinear", IDENTITY)
    dress(block, ("basic", "ConvBN"))
    return channels


FORM = FamilyForm(
    "orepa",
    "OREPA",
    (
        BlockForm(_with(POINTWISE[0]), _pointwise_parts, _dress_pointwise),
        BlockForm(_with(_ORIGIN), _parts, _dress),
        BlockForm(_is_large, _large_parts, _dress_large),
        BlockForm(_is_repvgg, _repvgg_parts, _dress_repvgg),
        *dbb.FORM.blocks,
        CONV_NORM,
    ),
    deployed=holding("or1x1_reparam", "orepa_reparam", "or_large_reparam", "rbr_reparam", "dbb_reparam"),
)
