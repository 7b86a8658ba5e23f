"""YOLOX's blocks: as YOLOv5's, under names of its own. `fuse_model` folds whatever is a BaseConv and has a `bn`."""

from typing import Any

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov7.conv import conv_family, focus
from app.engine.ir.graph import Value

_BLOCKS = "yolox.models.network_blocks"


def depthwise(block: Block, x: Value, ops: Ops) -> Any:
    return block.pconv(block.dconv(x))


def bottleneck(block: Block, x: Value, ops: Ops) -> Value:
    y: Value = block.conv2(block.conv1(x))
    return ops.add(y, x) if block.use_add else y


def residual(block: Block, x: Value, ops: Ops) -> Value:
    return ops.add(x, block.layer2(block.layer1(x)))


def pyramid(block: Block, x: Value, ops: Ops) -> Any:
    """Max pools of several sizes side by side; arXiv 1406.4729."""
    narrow = block.conv1(x)
    return block.conv2(ops.concat([narrow, *(pool(narrow) for pool in block.m)]))


def csp(block: Block, x: Value, ops: Ops) -> Any:
    """Two paths, one of them through bottlenecks; arXiv 1911.11929."""
    return block.conv3(ops.concat([block.m(block.conv1(x)), block.conv2(x)]))


def _family(name: str, describe: Describe, children: tuple[str, ...], shapes: Any) -> Family:
    return Family(
        f"YOLOX {name}",
        (f"{_BLOCKS}.{name}",),
        describe,
        lambda module: has_children(module, *children),
        example_shapes=shapes,
    )


FAMILIES = (
    conv_family("YOLOX BaseConv", f"{_BLOCKS}.BaseConv"),
    _family("DWConv", depthwise, ("dconv", "pconv"), maps()),
    _family("Bottleneck", bottleneck, ("conv1", "conv2"), maps()),
    _family("ResLayer", residual, ("layer1", "layer2"), maps()),
    _family("SPPBottleneck", pyramid, ("conv1", "conv2", "m"), maps()),
    _family("CSPLayer", csp, ("conv1", "conv2", "conv3", "m"), maps()),
    _family("Focus", focus, ("conv",), maps(multiple=2, divide=4)),
)
