"""UniRepLKNet (arXiv 2311.15599): a large kernel with dilated ones, a gate, and a network at each position."""

import re

from app.engine.algebra import Geometry
from app.engine.forward.structure import below
from app.engine.ir.module import Module
from app.engine.weights.dress import add_child, dress, dress_convolution, dress_linear
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting
from app.engine.weights.families.layers import (
    GELU,
    IDENTITY,
    RELU,
    SEQUENTIAL,
    convolve,
    layer,
    misshapen,
    normalise,
    order,
    weight_of,
)

_MODULE = "unireplknet"
_DILATED = re.compile(r"dil_conv_k(\d{1,3})_(\d{1,3})")
_LARGE, _NORM = "lk_origin", "origin_bn"
_RESPONSE, _LINEAR, _LAST_NORM = "act.1", "pwconv2.0", "pwconv2.2"


def _is_dilated(module: Module) -> bool:
    return module.child(_LARGE) is not None and module.child(_NORM) is not None


def _is_block(module: Module) -> bool:
    """In its training form: the norms go when the block is deployed."""
    return below(module, _LINEAR) is not None and below(module, _LAST_NORM) is not None


def _is_deployed(module: Module) -> bool:
    large = module.child(_LARGE)
    return large is not None and module.child(_NORM) is None and large.tensor("bias") is not None


def _branches(module: Module) -> list[tuple[int, int]]:
    """Kernel size and dilation of each branch beside the large kernel, in the order of the file."""
    found = (_DILATED.fullmatch(name) for name, _ in module.children())
    return [(int(match[1]), int(match[2])) for match in found if match is not None]


def _dilated_parts(module: Module, prefix: str = "") -> tuple[list[str], list[str]]:
    """The norms and the convolutions, by their paths below what holds the module."""
    named = [f"k{size}_{step}" for size, step in _branches(module)]
    norms = [_NORM, *(f"dil_bn_{name}" for name in named)]
    convolutions = [_LARGE, *(f"dil_conv_{name}" for name in named)]
    return [f"{prefix}{name}" for name in norms], [f"{prefix}{name}" for name in convolutions]


def _parts_of_dilated(block: Module) -> Parts:
    return Parts(*_dilated_parts(block))


def _dress_dilated(block: Module, setting: Setting) -> int:
    """Depthwise kernels of one centre, none wider than the large one, each with its norm."""
    branches = _branches(block)
    large = weight_of(layer(block, _LARGE))
    channels = large.shape[0]
    _depthwise(layer(block, _LARGE), channels, 1)
    normalise(layer(block, _NORM), setting.eps, channels)
    for size, step in branches:
        if step * (size - 1) >= large.shape[2]:
            raise misshapen(layer(block, _LARGE), "weight", f"as wide as dil_conv_k{size}_{step} spans")
        _depthwise(layer(block, f"dil_conv_k{size}_{step}"), channels, step)
        normalise(layer(block, f"dil_bn_k{size}_{step}"), setting.eps, channels)
    sizes, steps = [size for size, _ in branches], [step for _, step in branches]
    dress(block, (_MODULE, "DilatedReparamBlock"), attempt_use_lk_impl=False, kernel_sizes=sizes, dilates=steps)
    return channels


def _depthwise(module: Module, channels: int, step: int) -> None:
    weight = weight_of(module)
    if weight.shape[:2] != (channels, 1) or weight.shape[2] != weight.shape[3]:
        raise misshapen(module, "weight", f"({channels}, 1, ...)")
    sides = tuple((step * (size - 1) // 2,) * 2 for size in weight.shape[2:])
    dress_convolution(module, Geometry((1, 1), sides, (step, step), channels))


def _kernel_parts(block: Module) -> tuple[list[str], list[str]]:
    """The norms and the convolutions of the depthwise part; a block may have none."""
    kernel = block.child("dwconv")
    if kernel is None:
        return ["norm"] if block.child("norm") is not None else [], []
    norms, convolutions = _dilated_parts(kernel, "dwconv.") if _is_dilated(kernel) else ([], ["dwconv"])
    return ["norm", *norms], convolutions


def _parts(block: Module) -> Parts:
    norms, convolutions = _kernel_parts(block)
    factor = ["gamma"] if block.tensor("gamma") is not None else []
    return Parts(
        norms=[_LAST_NORM, *norms],
        plain=[_LINEAR, *convolutions],
        biased=["se.down", "se.up", "pwconv1.1"],
        more=[f"{_RESPONSE}.gamma", f"{_RESPONSE}.beta", *factor],
    )


def _dress(block: Module, setting: Setting) -> int:
    channels = _dress_kernel(block, setting)
    _gate(layer(block, "se"), channels)
    _network(block, channels, setting.eps)
    block.table("_parameters").setdefault("gamma", None)
    add_child(block, "drop_path", IDENTITY)
    dress(block, (_MODULE, "UniRepLKNetBlock"), with_cp=False)
    return channels


def _dress_kernel(block: Module, setting: Setting) -> int:
    kernel = block.child("dwconv")
    if kernel is None:
        for name in ("dwconv", "norm"):
            add_child(block, name, IDENTITY)
        return weight_of(layer(block, "se.down")).shape[1]
    if _is_dilated(kernel):
        channels = _dress_dilated(kernel, setting)
    else:
        channels = weight_of(kernel).shape[0]
        _depthwise(kernel, channels, 1)
    normalise(layer(block, "norm"), setting.eps, channels)
    return channels


def _gate(gate: Module, channels: int) -> None:
    for name in ("down", "up"):
        convolve(layer(gate, name), groups=1)
    add_child(gate, "nonlinear", RELU, inplace=False)
    dress(gate, (_MODULE, "SEBlock"), input_channels=channels)


def _network(block: Module, channels: int, eps: float) -> None:
    """Linear, activation with its response norm, Linear and norm; channels last within."""
    first, second, action = (layer(block, name) for name in ("pwconv1", "pwconv2", "act"))
    width = _linear(layer(first, "1"), channels)
    if _linear(layer(second, "0"), width) != channels:
        raise misshapen(layer(second, "0"), "weight", f"({channels}, {width})")
    normalise(layer(second, "2"), eps, channels)
    response = layer(action, "1")
    for name in ("gamma", "beta"):
        stored = response.tensor(name)
        if stored is None or stored.numel != width:
            raise misshapen(response, name, f"(1, 1, 1, {width})")
    dress(response, (_MODULE, "GRNwithNHWC"), use_bias=True)
    add_child(first, "0", (_MODULE, "NCHWtoNHWC"))
    add_child(second, "1", (_MODULE, "NHWCtoNCHW"))
    add_child(action, "0", GELU, approximate="none")
    for sequence in (first, second, action):
        order(sequence, "0", "1", "2")
        dress(sequence, SEQUENTIAL)


def _linear(module: Module, incoming: int) -> int:
    weight = module.tensor("weight")
    if weight is None or len(weight.shape) != 2 or weight.shape[1] != incoming:
        raise misshapen(module, "weight", f"(..., {incoming})")
    dress_linear(module)
    return weight.shape[0]


FORM = FamilyForm(
    "unireplknet",
    "UniRepLKNet",
    (BlockForm(_is_block, _parts, _dress), BlockForm(_is_dilated, _parts_of_dilated, _dress_dilated)),
    deployed=_is_deployed,
)
