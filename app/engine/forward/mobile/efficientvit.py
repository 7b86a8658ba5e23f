"""EfficientViT with cascaded group attention, as its authors publish it; arXiv 2305.07027, figure 3."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.mobile.levit import BIASES, ONCE_MORE
from app.engine.forward.mobile.shvit import NET_MEMBERS, net, net_fits
from app.engine.forward.steps import in_steps, steps_fit
from app.engine.forward.structure import has_children, input_channels
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Const, Value
from app.engine.ir.module import Module

_FILES = ("model.efficientvit", "efficientvit")
_HEADS = ("qkvs", "dws")
_STEPS = ("dw0", "ffn0", "mixer", "dw1", "ffn1")
_PATCH = 16


def cascaded_attention(block: Block, x: Value, ops: Ops) -> Any:
    """Each head attends over its share of the channels, to which the head before adds what it made; equation 3."""
    shares = ops.apply_many("shares", torch.chunk, x, len(block.qkvs), 1)
    made: list[Value] = []
    for head, (qkv, depthwise) in enumerate(zip(block.qkvs, block.dws, strict=True)):
        share = ops.add(made[-1], shares[head]) if made else shares[head]
        made.append(_head(block, head, qkv(share), depthwise, ops))
    return block.proj(ops.concat(made))


def _head(block: Block, head: int, projected: Value, depthwise: Block, ops: Ops) -> Value:
    """Attention with queries that a depthwise convolution mixed."""
    width = block.key_dim
    query, rest = (ops.apply("part", part, projected, width, which) for which in (0, 1))
    biases: tuple[Const, Const] = (getattr(block, BIASES[0]), getattr(block, BIASES[1]))
    return ops.apply("attention", partial(attend, head=head, scale=block.scale), depthwise(query), rest, *biases)


def part(x: Tensor, width: int, which: int) -> Tensor:
    """The first `width` channels, or the others."""
    return x[:, :width] if which == 0 else x[:, width:]


def attend(query: Tensor, rest: Tensor, biases: Tensor, index: Tensor, *, head: int, scale: float) -> Tensor:
    """softmax(scale q' k + bias) v over maps; `rest` is k, as wide as q, and v."""
    width = query.shape[1]
    q, k, v = query.flatten(2), rest[:, :width].flatten(2), rest[:, width:].flatten(2)
    scores = torch.softmax((q.transpose(1, 2) @ k) * scale + biases[head][index], -1)
    return torch.unflatten(v @ scores.transpose(1, 2), 2, query.shape[2:])


def window_attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention within windows; a map that is no larger than one is one."""
    side, window = block.resolution, block.window_resolution
    if side <= window:
        return block.attn(x)
    attended = block.attn(ops.apply("windows", windows_of, x, window))
    return ops.apply("map", map_of, attended, window, x.shape[2:])


def windows_of(x: Tensor, window: int) -> Tensor:
    """(n, c, h, w) to (n * windows, c, window, window), zeros at the lower and right border."""
    height, width = x.shape[2:]
    padded = F.pad(x, (0, -width % window, 0, -height % window))
    cut = torch.unflatten(torch.unflatten(padded, 3, (-1, window)), 2, (-1, window))
    windows: Tensor = cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return windows


def map_of(windows: Tensor, window: int, sizes: tuple[int, int]) -> Tensor:
    """The inverse, without what was padded."""
    rows, columns = (-(-size // window) for size in sizes)
    cut = torch.unflatten(windows, 0, (-1, rows, columns)).permute(0, 3, 1, 4, 2, 5)
    joined: Tensor = cut.flatten(4, 5).flatten(2, 3)
    return joined[:, :, : sizes[0], : sizes[1]]


def _attention_fits(module: Module) -> bool:
    heads, mixers = (module.child(name) for name in _HEADS)
    if heads is None or mixers is None or not has_children(module, "proj"):
        return False
    count = sum(1 for _ in heads.children())
    return count == sum(1 for _ in mixers.children()) and all(module.tensor(name) is not None for name in BIASES)


def _windows_fit(module: Module) -> bool:
    sizes = (module.attribute(name, None) for name in ("resolution", "window_resolution"))
    return has_children(module, "attn") and all(type(size) is int and size > 0 for size in sizes)


def _examples(module: Module) -> Shapes | None:
    """Square and of one size, which the first attention keeps."""
    first = next((inner for inner in module.walk() if inner.has("window_resolution")), None)
    side = first.attribute("resolution", None) if first is not None else None
    taken = input_channels(module)
    if type(side) is not int or taken is None or not 0 < side <= 64:
        return None
    return ((2, taken[0], _PATCH * side, _PATCH * side),)


def _paths(name: str) -> tuple[str, ...]:
    return tuple(f"{file}.{name}" for file in _FILES)


FAMILIES = (
    Family(
        "EfficientViT CascadedGroupAttention",
        _paths("CascadedGroupAttention"),
        cascaded_attention,
        _attention_fits,
        members=Members(("num_heads", "scale", "key_dim", "d", "attn_ratio", *_HEADS, "proj", *BIASES), (ONCE_MORE,)),
        idle=(ONCE_MORE,),
    ),
    Family(
        "EfficientViT LocalWindowAttention",
        _paths("LocalWindowAttention"),
        window_attention,
        _windows_fit,
        members=Members(("dim", "num_heads", "resolution", "window_resolution", "attn")),
    ),
    Family(
        "EfficientViTBlock",
        _paths("EfficientViTBlock"),
        in_steps(*_STEPS),
        steps_fit(*_STEPS),
        members=Members(_STEPS),
    ),
    Family(
        "EfficientViT",
        _paths("EfficientViT"),
        net,
        net_fits,
        example_shapes=_examples,
        members=NET_MEMBERS,
    ),
)
