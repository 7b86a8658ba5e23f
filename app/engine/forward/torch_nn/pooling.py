"""torch.nn pooling layers."""

from typing import Any

import torch.nn.functional as F

from app.engine.forward.family import Family
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value

_DIMS = (1, 2, 3)
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_ADAPTIVE_MAX_POOL = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def _dims(block: Block) -> int:
    return int(block.module.class_path[-2])


def _spread(value: Any, dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


def _refuse_indices(block: Block) -> None:
    if block.find("return_indices"):
        raise UnknownFlow(block.module.path, "structure-differs", "return_indices is set: it has a second output")


def max_pool(block: Block, x: Value, ops: Ops) -> Value:
    _refuse_indices(block)
    stride = block.kernel_size if block.stride is None else block.stride
    return ops.apply(
        "max_pool",
        _MAX_POOL[_dims(block)],
        x,
        block.kernel_size,
        stride,
        block.padding,
        block.dilation,
        ceil_mode=block.ceil_mode,
    )


def avg_pool(block: Block, x: Value, ops: Ops) -> Value:
    dims = _dims(block)
    kernel = _spread(block.kernel_size, dims)
    stride = kernel if block.stride is None else _spread(block.stride, dims)
    padding = _spread(block.padding, dims)
    if block.divisor_override:  # neither linear operator of the vocabulary divides by a number of its own
        pool = _AVG_POOL[dims]
        return ops.apply(
            "avg_pool",
            pool,
            x,
            kernel,
            stride,
            padding,
            block.ceil_mode,
            block.count_include_pad,
            block.divisor_override,
        )
    return ops.avg_pool(
        x, kernel, stride, padding, ceil_mode=block.ceil_mode, count_include_pad=block.count_include_pad
    )


def adaptive_avg_pool(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("adaptive_avg_pool", _ADAPTIVE_AVG_POOL[_dims(block)], x, block.output_size)


def adaptive_max_pool(block: Block, x: Value, ops: Ops) -> Value:
    _refuse_indices(block)
    return ops.apply("adaptive_max_pool", _ADAPTIVE_MAX_POOL[_dims(block)], x, block.output_size)


def _paths(kind: str) -> tuple[str, ...]:
    return tuple(f"torch.nn.modules.pooling.{kind}{dims}d" for dims in _DIMS)


_INDICES = {"return_indices": False}

FAMILIES = (
    Family(
        "torch.nn max pool",
        _paths("MaxPool"),
        max_pool,
        defaults={"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, **_INDICES},
        leaf=True,
    ),
    Family(
        "torch.nn average pool",
        _paths("AvgPool"),
        avg_pool,
        defaults={"ceil_mode": False, "count_include_pad": True, "divisor_override": None},
        leaf=True,
    ),
    Family("torch.nn adaptive average pool", _paths("AdaptiveAvgPool"), adaptive_avg_pool, leaf=True),
    Family("torch.nn adaptive max pool", _paths("AdaptiveMaxPool"), adaptive_max_pool, defaults=_INDICES, leaf=True),
)
