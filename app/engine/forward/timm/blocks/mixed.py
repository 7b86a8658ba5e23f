"""Norms behind mixed convolutions (MixNet, arXiv 1907.09595): each kernel takes in its own channels' share."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.shares import normed_apart
from app.engine.forward.steps import through
from app.engine.forward.structure import below, is_batch_norm, put
from app.engine.forward.timm.layers.conv import MIXED, SAME, mixed_parts
from app.engine.forward.timm.layers.norm import acted, activation_left
from app.engine.forward.trace import Block, Ops
from app.engine.ir.module import Module
from app.engine.ir.node import Object

Body = Sequence[str]  # the steps of a block, as `steps.through` has them


def through_mixed(block: Block, x: Any, body: Body, ops: Ops) -> Any:
    """The children in this order; a norm behind a mixed convolution is a norm of each of its parts."""
    pairs, start = dict(_pairs(block.module, body)), 0
    names = [step.removesuffix("?") for step in body]
    for conv, norm in pairs.items():
        x = through(block, x, *body[start : names.index(conv)])
        parts = normed_apart(getattr(block, norm), ops.call_as(getattr(block, conv), mixed_parts, x), ops)
        x = acted(getattr(block, norm), ops.concat(parts))
        start = names.index(norm) + 1
    return through(block, x, *body[start:])


def _pairs(module: Module, body: Body) -> Iterator[tuple[str, str]]:
    """The mixed convolutions that a norm follows, and that norm, in order."""
    names = [name for step in body if module.child(name := step.removesuffix("?")) is not None]
    for name, following in pairwise(names):
        conv, norm = module.child(name), module.child(following)
        assert conv is not None
        assert norm is not None
        if conv.class_path in MIXED and is_batch_norm(norm):
            yield name, following


def mixed_form(body: Body) -> DeployForm:
    """Each kernel of a mixed convolution is a slot; the norm's class leaves its activation."""

    def slots(module: Module) -> tuple[Slot, ...]:
        paths = (path for conv, _ in _pairs(module, body) for path in _kernels(module, conv))
        return tuple(Slot(path, (path,)) for path in paths)

    def write(module: Module, convolutions: Mapping[str, Any]) -> None:
        for _, norm in list(_pairs(module, body)):
            found = module.child(norm)
            assert found is not None
            module.replace_child(norm, activation_left(found))
        for path, node in convolutions.items():
            _hold(module, path, node)

    return DeployForm(slots, write, all_or_nothing=True, absorbs=False, spread=True)


def _kernels(module: Module, conv: str) -> Iterator[str]:
    mixed = module.child(conv)
    assert mixed is not None
    return (f"{conv}.{name}" for name, _ in mixed.children())


def _hold(module: Module, path: str, node: Object) -> None:
    """Put a convolution into its place; one that pads by its input's size keeps its class, and takes the numbers."""
    before = below(module, path)
    assert before is not None
    if before.class_path in SAME:
        before.table("_parameters").update(Module(node).table("_parameters"))
    else:
        put(module, path, node)
