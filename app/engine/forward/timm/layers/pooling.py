"""timm's pools: over the whole map, with TensorFlow's padding, and with a blur."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children
from app.engine.forward.timm.layers.conv import pad_same
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def select_pool(block: Block, x: Any, ops: Ops) -> Any:
    return block.flatten(block.pool(x))


def average(x: Tensor, dims: tuple[int, int]) -> Tensor:
    return x.mean(dims, keepdim=True)


def maximum(x: Tensor, dims: tuple[int, int]) -> Tensor:
    return x.amax(dims, keepdim=True)


def average_and_maximum(x: Tensor, dims: tuple[int, int]) -> Tensor:
    return 0.5 * average(x, dims) + 0.5 * maximum(x, dims)


def both(x: Tensor, dims: tuple[int, int]) -> Tensor:
    """Average and maximum side by side, along the channels."""
    channels = 3 if dims == (1, 2) else 1
    return torch.cat([average(x, dims), maximum(x, dims)], channels)


_GLOBAL: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "FastAdaptiveAvgPool": average,
    "FastAdaptiveMaxPool": maximum,
    "FastAdaptiveAvgMaxPool": average_and_maximum,
    "FastAdaptiveCatAvgMaxPool": both,
    "AdaptiveAvgMaxPool2d": average_and_maximum,
    "AdaptiveCatAvgMaxPool2d": both,
}


def global_pool(block: Block, x: Value, ops: Ops) -> Value:
    """One number per channel; `dim` says where the map's height and width are (channels last: 1 and 2)."""
    dims = tuple(block.find("dim") or (2, 3))
    pooled = ops.apply("global_pool", _GLOBAL[_name(block.module)], x, dims)
    return ops.apply("flatten", torch.flatten, pooled, 1) if block.find("flatten") else pooled


def _global_fits(module: Module) -> bool:
    """Over the whole map, to a single position."""
    return module.attribute("output_size", 1) in (1, (1, 1)) and module.attribute("flatten", False) in (False, True)


def _name(module: Module) -> str:
    return module.class_path.rpartition(".")[2]


def avg_pool_same(block: Block, x: Value, ops: Ops) -> Value:
    kernel, stride = block.kernel_size, block.stride
    padded = ops.apply("same_padding", pad_same, x, kernel, stride, (1, 1))
    return ops.apply("avg_pool", F.avg_pool2d, padded, kernel, stride, 0, block.ceil_mode, block.count_include_pad)


def max_pool_same(block: Block, x: Value, ops: Ops) -> Value:
    kernel, stride, dilation = block.kernel_size, block.stride, block.dilation
    padded = ops.apply("same_padding", pad_same, x, kernel, stride, dilation, value=float("-inf"))
    return ops.apply("max_pool", F.max_pool2d, padded, kernel, stride, 0, dilation, block.ceil_mode)


def blur_pool(block: Block, x: Value, ops: Ops) -> Value:
    """A fixed binomial filter per channel, strided; arXiv 1904.11486."""
    return ops.apply("blur_pool", blurred, x, block.filt, block.stride, tuple(block.padding), block.pad_mode)


def blurred(x: Tensor, kernel: Tensor, stride: int, padding: Sequence[int], mode: str) -> Tensor:
    channels = x.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape[2:])
    return F.conv2d(F.pad(x, list(padding), mode=mode), weight, stride=stride, groups=channels)


FAMILIES = (
    Family(
        "timm global pool",
        layer_paths("adaptive_avgmax_pool.SelectAdaptivePool2d"),
        select_pool,
        lambda module: has_children(module, "pool", "flatten"),
    ),
    Family(
        "timm pool over the map",
        layer_paths(*(f"adaptive_avgmax_pool.{name}" for name in _GLOBAL)),
        global_pool,
        _global_fits,
    ),
    Family("timm AvgPool2dSame", layer_paths("pool2d_same.AvgPool2dSame"), avg_pool_same),
    Family("timm MaxPool2dSame", layer_paths("pool2d_same.MaxPool2dSame"), max_pool_same),
    Family(
        "timm BlurPool2d",
        layer_paths("blur_pool.BlurPool2d"),
        blur_pool,
        lambda module: module.tensor("filt") is not None and isinstance(module.attribute("pad_mode", None), str),
    ),
)
