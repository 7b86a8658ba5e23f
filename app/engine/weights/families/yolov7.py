"""YOLOv7 (arXiv 2207.02696): Conv, RepConv and the head with implicit vectors; its code sets eps to 1e-3."""

from typing import Final

import torch

from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor, buffer
from app.engine.weights.dress import add_child, dress
from app.engine.weights.families.form import BlockForm, FamilyForm, Parts, Setting
from app.engine.weights.families.layers import (
    MODULE_LIST,
    conv_bn,
    convolve,
    groups_of,
    layer,
    misshapen,
    normalise,
    order,
    weight_of,
)
from app.engine.weights.families.ultralytics import conv_parts, dress_conv, is_conv

_SILU: Final = ("torch.nn.modules.activation", "SiLU")
_BRANCHES: Final = ("rbr_dense", "rbr_1x1")
_IMPLICIT: Final = {"ia": "ImplicitA", "im": "ImplicitM"}
_ANCHORS: Final = ("anchors", "anchor_grid")


def _is_rep_conv(module: Module) -> bool:
    return any(module.child(name) is not None for name in _BRANCHES)


def _rep_conv_parts(block: Module) -> Parts:
    identity = ("rbr_identity",) if block.child("rbr_identity") is not None else ()
    norms = tuple(f"{name}.1" for name in _BRANCHES)
    return Parts(norms=(*norms, *identity), plain=tuple(f"{name}.0" for name in _BRANCHES))


def _dress_rep_conv(block: Module, setting: Setting) -> int:
    weight = weight_of(layer(block, "rbr_dense.0"))
    identity = block.child("rbr_identity")
    groups = groups_of(weight, weight.shape[0] if identity is not None else None)
    for name in _BRANCHES:
        conv_bn(layer(block, name), groups, setting.eps, ("0", "1"))
    if identity is not None:
        normalise(identity, setting.eps, weight.shape[0])
    else:
        block.table("_modules")["rbr_identity"] = None
    add_child(block, "act", _SILU, inplace=False)
    dress(block, ("models.common", "RepConv"), deploy=False, groups=groups, in_channels=weight.shape[1] * groups)
    return weight.shape[0]


def _is_head(module: Module) -> bool:
    return any(module.child(name) is not None for name in _IMPLICIT)


def _levels(head: Module) -> list[str]:
    maps = head.child("m")
    return [name for name, _ in maps.children()] if maps is not None else []


def _head_parts(head: Module) -> Parts:
    levels = _levels(head) or ["0"]
    more = (f"{name}.{level}.implicit" for name in _IMPLICIT for level in levels)
    return Parts(norms=(), plain=(), biased=tuple(f"m.{level}" for level in levels), more=(*_ANCHORS, *more))


def _dress_head(head: Module, setting: Setting) -> int:
    """IDetect, which becomes Detect: strides are not in the file, and matter to the boxes alone."""
    levels = _levels(head)
    anchors = _anchors(head, len(levels))
    outputs = weight_of(layer(head, f"m.{levels[0]}")).shape[0]
    count = anchors.shape[1]
    if levels != list(map(str, range(len(levels)))) or outputs % count or outputs // count <= _BOX:
        raise misshapen(layer(head, f"m.{levels[0]}"), "weight", f"({count} * (5 + classes), ...)")
    for level in levels:
        convolve(layer(head, f"m.{level}"), groups=1)
        for name, kind in _IMPLICIT.items():
            dress(layer(head, f"{name}.{level}"), ("models.common", kind))
    for name in ("m", *_IMPLICIT):
        order(layer(head, name), *levels)
        dress(layer(head, name), MODULE_LIST)
    sizes = {"nl": len(levels), "na": count, "no": outputs // count, "nc": outputs // count - _BOX}
    strides = buffer(torch.tensor([8.0 * 2**level for level in range(len(levels))]))
    dress(head, ("models.yolo", "IDetect"), **sizes, stride=strides)
    return outputs


_BOX: Final = 5  # a box and its objectness


def _anchors(head: Module, levels: int) -> StoredTensor:
    """(levels, anchors, 2)"""
    anchors = head.tensor("anchors")
    if anchors is None or len(anchors.shape) != 3 or anchors.shape[0] != levels or 0 in anchors.shape:
        raise misshapen(head, "anchors", f"({levels}, anchors, 2)")
    for name in _ANCHORS:  # a buffer of its class
        node = head.table("_parameters").pop(name, None)
        if node is not None:
            head.table("_buffers")[name] = node
    return anchors


def _classes(root: Module) -> int | None:
    return next((module.attribute("nc", None) for module in root.walk() if _is_head(module)), None)


FORM = FamilyForm(
    "yolov7",
    "YOLOv7",
    (
        BlockForm(is_conv, conv_parts, dress_conv),
        BlockForm(_is_rep_conv, _rep_conv_parts, _dress_rep_conv),
        BlockForm(_is_head, _head_parts, _dress_head),
    ),
    eps=1e-3,
    classes=_classes,
)
