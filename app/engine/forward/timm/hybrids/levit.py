"""LeViT: attention between maps of falling size, a batch norm behind every layer; arXiv 2104.01136, section 4."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Shapes, Slot
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import below, has_children, put, silence
from app.engine.forward.timm.hybrids.attention import (
    attend_tokens,
    biased_fits,
    of_map,
    of_tokens,
    scores,
    to_tokens,
    weighed,
)
from app.engine.forward.timm.hybrids.heads import averaged_heads, halves, pooled, pools_or_not
from app.engine.forward.timm.nets.fastvit import map_of, tokens_of
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MOST = 64  # positions along a side of the first map; a larger one is not tried


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Over tokens, or over a map where the layers are convolutions."""
    attend = attend_map if block.use_conv else attend_tokens
    widths = block.key_dim, block.key_dim, block.val_dim
    return block.proj(ops.apply("attention", attend, block.qkv(x), block.num_heads, widths, *scores(block)))


def attend_map(
    qkv: Tensor, heads: int, widths: tuple[int, int, int], scale: float, biases: Tensor, index: Tensor
) -> Tensor:
    q, k, v = torch.split(of_map(qkv, heads), list(widths), 3)
    return map_of(to_tokens(weighed(q, k, v, scale, biases[:, index])), qkv.shape[2:])


def attention_downsample(block: Block, x: Value, ops: Ops) -> Any:
    """Queries from every second position, keys and values from all; figure 5."""
    attend = attend_map_from if block.use_conv else attend_tokens_from
    widths = block.key_dim, block.val_dim
    keys, queries = block.kv(x), block.q(x)
    return block.proj(ops.apply("attention", attend, queries, keys, block.num_heads, widths, *scores(block)))


def attend_tokens_from(
    queries: Tensor, kv: Tensor, heads: int, widths: tuple[int, int], scale: float, biases: Tensor, index: Tensor
) -> Tensor:
    k, v = torch.split(of_tokens(kv, heads), list(widths), 3)
    return to_tokens(weighed(of_tokens(queries, heads), k, v, scale, biases[:, index]))


def attend_map_from(
    queries: Tensor, kv: Tensor, heads: int, widths: tuple[int, int], scale: float, biases: Tensor, index: Tensor
) -> Tensor:
    k, v = torch.split(of_map(kv, heads), list(widths), 3)
    return map_of(to_tokens(weighed(of_map(queries, heads), k, v, scale, biases[:, index])), queries.shape[2:])


def downsample(block: Block, x: Value, ops: Ops) -> Any:
    """Tokens of every n-th row and column of a map, or of the map after a pool."""
    resolution = tuple(block.resolution)
    if block.find("pool") is None:
        return ops.apply("subsample", every_nth, x, resolution, block.stride)
    return ops.apply("tokens", tokens_of, block.pool(ops.apply("map", map_of, x, resolution)))


def every_nth(x: Tensor, sizes: tuple[int, int], stride: int) -> Tensor:
    return tokens_of(map_of(x, sizes)[:, :, ::stride, ::stride])


def levit_downsample(block: Block, x: Any, ops: Ops) -> Any:
    x = block.attn_downsample(x)
    return ops.add(x, through(block, x, "mlp", "drop_path"))


def features(block: Block, image: Value, ops: Ops) -> Any:
    x = block.stem(image)
    if block.use_conv:
        return pooled(block, block.stages(x), (2, 3), ops)
    return pooled(block, block.stages(ops.apply("tokens", tokens_of, x)), (1,), ops)


def net(block: Block, image: Value, ops: Ops) -> Any:
    return block.head(features(block, image, ops))


def distilled_net(block: Block, image: Value, ops: Ops) -> Any:
    return averaged_heads(block, features(block, image, ops), ops)


def _image(module: Module) -> Shapes | None:
    """The one size that the attention's biases allow: the stem's stride times the first attention's map."""
    stem = module.child("stem")
    first = next((part for part in module.walk() if part.has("attention_biases")), None)
    sizes = first.attribute("resolution", None) if first is not None else None
    stride = stem.attribute("stride", None) if stem is not None else None
    if type(stride) is not int or stride not in (8, 16) or not isinstance(sizes, tuple) or len(sizes) != 2:
        return None
    if not all(type(size) is int and 0 < size <= _MOST for size in sizes):
        return None
    return images(sizes[0] * stride, sizes[1] * stride)(module)


def _convolutions_fit(module: Module) -> bool:
    """Convolutions for layers, and for queries a pool that only takes every n-th position."""
    down = below(module, "q.down")
    plain = down is not None and (down.attribute("kernel_size", 0), down.attribute("padding", 1)) == (1, 0)
    return bool(module.attribute("use_conv", False)) and plain and biased_fits(module, "kv", "q", "proj")


def _slots(module: Module) -> tuple[Slot, ...]:
    return Slot("kv", ("kv",)), Slot("q.ln", ("q",)), Slot("proj.ln", ("proj.ln",))


def _write(module: Module, convolutions: Mapping[str, Any]) -> None:
    """The convolution for queries takes in the stride of the pool before it."""
    for name, node in convolutions.items():
        put(module, name, node)
    silence(module, "q.down")


def _path(*names: str) -> tuple[str, ...]:
    return tuple(f"timm.models.levit.{name}" for name in names)


def _net_fits(module: Module) -> bool:
    return has_children(module, "stem", "stages", "head") and pools_or_not(module)


FAMILIES = (
    sequence("timm LeViT Stem16", _path("Stem16"), "conv1", "act1", "conv2", "act2", "conv3", "act3", "conv4"),
    sequence("timm LeViT Stem8", _path("Stem8"), "conv1", "act1", "conv2", "act2", "conv3"),
    Family("timm LeViT Downsample", _path("Downsample"), downsample, steps_fit("pool?")),
    Family("timm LeViT Attention", _path("Attention"), attention, lambda module: biased_fits(module, "qkv", "proj")),
    Family(
        "timm LeViT AttentionDownsample of convolutions",
        _path("AttentionDownsample"),
        attention_downsample,
        _convolutions_fit,
        deploy=DeployForm(_slots, _write, all_or_nothing=True),
    ),
    Family(
        "timm LeViT AttentionDownsample",
        _path("AttentionDownsample"),
        attention_downsample,
        lambda module: biased_fits(module, "kv", "q", "proj"),
    ),
    sequence("timm LeViT Mlp", _path("LevitMlp"), "ln1", "act", "drop", "ln2"),
    Family(
        "timm LevitDownsample",
        _path("LevitDownsample"),
        levit_downsample,
        steps_fit("attn_downsample", "mlp", "drop_path"),
    ),
    Family(
        "timm LevitBlock",
        _path("LevitBlock"),
        halves(("attn", "drop_path1"), ("mlp", "drop_path2")),
        steps_fit("attn", "drop_path1", "mlp", "drop_path2"),
    ),
    sequence("timm LevitStage", _path("LevitStage"), "downsample", "blocks"),
    Family("timm LeViT", _path("Levit"), net, _net_fits, example_shapes=_image),
    Family(
        "timm distilled LeViT",
        _path("LevitDistilled"),
        distilled_net,
        lambda module: _net_fits(module) and has_children(module, "head_dist"),
        example_shapes=_image,
    ),
)
